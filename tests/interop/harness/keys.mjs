// Which secrets does an installation have?

import { createHash, randomBytes } from 'node:crypto';

/// Made anew for each installation, so that finding one anywhere is no accident.
export function freshKeys() {
  const text = () => randomBytes(32).toString('base64url');
  return {
    encryptionKey: randomBytes(32).toString('base64'),
    serviceKey: text(),
    clientSecret: text(),
    ownerPassphrase: text(),
    apiKey: text(),
  };
}

/// The variables of the manifests that are secret.
export function secretVariables(keys) {
  return {
    encryption_keys: `k1:${keys.encryptionKey}`,
    service_keys: `gateway:${sha256(keys.serviceKey)}`,
    gateway_service_key: keys.serviceKey,
    api_keys: `owner:${sha256(keys.apiKey)}`,
    owner_passphrase: keys.ownerPassphrase,
  };
}

const sha256 = (text) => createHash('sha256').update(text).digest('hex');
