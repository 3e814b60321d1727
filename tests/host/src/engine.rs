//! Compiles wasm and gives it memory.
//!
//! With Spin's settings, so that its costs and limits are Spin's: a pool of 1,000 instances with up to 32 memories each,
//! epoch checks in the code (but no deadline), and wasmtime's cache of compiled code in the user's cache folder. The
//! variables that size Spin's pool size this one.

use std::sync::LazyLock;
use wasmtime::{Cache, Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

/// One engine for the process: every app that a test loads shares its pool.
pub static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
    let pooled = InstanceAllocationStrategy::Pooling(pool());
    // A machine with little address space cannot reserve the pool. Spin falls back likewise.
    Engine::new(&config(pooled))
        .or_else(|_| Engine::new(&config(InstanceAllocationStrategy::OnDemand)))
        .expect("the engine's settings are fixed and fit together")
});

fn config(allocation: InstanceAllocationStrategy) -> Config {
    let mut config = Config::new();
    config.epoch_interruption(true).wasm_component_model(true).allocation_strategy(allocation);
    // Without a home folder there is no cache, and every start compiles.
    config.cache(Cache::from_file(None).ok());
    config
}

fn pool() -> PoolingAllocationConfig {
    let instances = size("SPIN_MAX_INSTANCE_COUNT", 1_000);
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(size("SPIN_WASMTIME_INSTANCE_COUNT", instances))
        .total_memories(size("SPIN_WASMTIME_TOTAL_MEMORIES", instances))
        .total_tables(size("SPIN_WASMTIME_TOTAL_TABLES", 2 * instances))
        .total_stacks(size("SPIN_WASMTIME_TOTAL_STACKS", instances))
        .total_core_instances(size("SPIN_WASMTIME_TOTAL_CORE_INSTANCES", 4 * instances))
        .table_elements(100_000)
        .max_component_instance_size(10 << 20)
        .max_core_instance_size(10 << 20)
        .max_core_instances_per_component(200)
        .max_tables_per_component(64)
        .max_memories_per_component(32)
        .max_tables_per_module(2)
        .max_memories_per_module(2)
        .max_memory_size(4 << 30)
        .linear_memory_keep_resident(2 << 20)
        .table_keep_resident(512 << 10);
    pool
}

/// What an environment variable says. Like Spin, nothing starts with one that says no number.
fn size(name: &str, default: u32) -> u32 {
    match std::env::var(name) {
        Ok(value) => value.parse().unwrap_or_else(|error| panic!("{name}={value}: {error}")),
        Err(_) => default,
    }
}
