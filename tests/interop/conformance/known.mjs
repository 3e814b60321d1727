// What must the suite find behind Gatehouse, in which pairing, and what can it not find, by the protocol?
//
// The upstream speaks both eras or only one; the suite comes in the era of its requirement set. Where the upstream
// speaks the suite's era the pairing is straight, else it is crossed.

export const REVISION_OF = { legacy: '2025-11-25', modern: '2026-07-28' };

export const isCrossed = (revision, era) => era !== 'both' && REVISION_OF[era] !== revision;

const ASKS_BY_RESULT =
  'An upstream of the older era asks on the stream of a call that is under way, and goes on there when answered. A ' +
  'modern answer comes with a new call, when that stream is over: that it can be taken up again is only a MAY.';
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
        // Not for that reason, and not for long: a subscription is acknowledged before the upstream's stream is open,
        // so that what the upstream says at once is lost.
        'sep-2575-server-sends-tools-list-changed-on-subscription',
        'sep-2575-server-sends-prompts-list-changed-on-subscription',
      ],
    },
    ...asks({
      'basic-elicitation': ['elicitation-incomplete'],
      'basic-sampling': ['sampling-incomplete'],
      'basic-list-roots': ['list-roots-incomplete'],
      'request-state': ['request-state-incomplete'],
      'multiple-input-requests': ['multiple-inputs-incomplete'],
      'multi-round': ['multi-round-r1'],
      'missing-input-response': ['missing-response-rerequests'],
      'non-tool-request': ['non-tool-incomplete'],
      'result-type': ['result-type-included'],
      'tampered-state': ['reject-tampered-state'],
      'capability-check': ['respect-client-capabilities'],
      'validate-input': ['validate-input-responses', 'error-on-protocol-error'],
    }),
  },
};

function asks(scenarios) {
  const entry = ([name, checks]) => [
    `input-required-result-${name}`,
    { because: ASKS_BY_RESULT, checks: checks.map((check) => `sep-2322-${check}`) },
  ];
  return Object.fromEntries(Object.entries(scenarios).map(entry));
}
