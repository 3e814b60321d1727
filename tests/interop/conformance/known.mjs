// What must the suite find behind Gatehouse, in which pairing, and what can it not find, by the protocol?
//
// The upstream speaks one era; the suite comes in the era of its requirement set. Where the upstream speaks the suite's
// era the pairing is straight, else it is crossed.

export const REVISION_OF = { legacy: '2025-11-25', modern: '2026-07-28' };

export const isCrossed = (revision, era) => REVISION_OF[era] !== revision;

const NO_SUCH_KEY =
  'The scenario wants an input request of a certain name. A request of the older era has an id, which its SDK counts.';
const ANSWERS_TO_NOTHING =
  'The scenario answers what it was not asked, in a call of its own. An upstream of the older era is answered on the ' +
  'stream on which it asks, which it has not yet done.';
const NO_SUCH_ERROR = 'The older era has no error for a capability that the client lacks: the tool says so itself.';

/// In crossed pairings, by revision: scenarios that cannot pass, and the checks in them that may fail because of it.
export const IMPOSSIBLE = {
  '2025-11-25': {},
  '2026-07-28': {
    'server-stateless': {
      because: NO_SUCH_ERROR,
      checks: [
        'sep-2575-server-rejects-undeclared-capability',
        'sep-2575-missing-capability-http-400',
      ],
    },
    'input-required-result-basic-elicitation': { because: NO_SUCH_KEY, checks: ['sep-2322-elicitation-incomplete'] },
    'input-required-result-ignore-extra-params': {
      because: ANSWERS_TO_NOTHING,
      checks: ['sep-2322-ignore-unexpected-params'],
    },
  },
};

const ONE_ANSWER =
  'Where a server closes the stream of a call and goes on soon, the answer through Gatehouse is one of JSON. The scenario ' +
  'judges streams, and leaves that alone.';
const SESSIONS = 'The server keeps no sessions, and Gatehouse gives its clients sessions of its own.';

/// What the suite finds otherwise at servers of both eras through Gatehouse: the checks that fail then in a scenario.
export const OTHERWISE = {
  '2025-11-25': {
    python: { 'server-sse-polling': { checks: ['any'], because: ONE_ANSWER } },
    rmcp: { 'server-sse-polling': { checks: ['any'], because: ONE_ANSWER } },
    typescript: { 'server-sse-polling': { checks: ['any'], because: ONE_ANSWER } },
    'typescript-default': {
      'server-session-lifecycle': { checks: [], because: SESSIONS },
      'server-sse-multiple-streams': { checks: [], because: SESSIONS },
    },
  },
};
