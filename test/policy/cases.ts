/**
 * What policies mean, case by case; `line` is the number in docs/reference/policy-semantics.md. One list for the
 * evaluator, for the compiled maps and for packets. A probe is "from>to:port", with "u" for UDP; port "icmp"; "out" is a host outside.
 */
export type Case = {
  readonly line: string;
  readonly title: string;
  readonly policies: readonly string[];
  readonly open: readonly string[];
  readonly shut: readonly string[];
  /** The API server would not store it: only the evaluator and the maps see it, as an agent of an older version would. */
  readonly refused?: true;
};

const np = (namespace: string, name: string, spec: string): string =>
  `apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: { name: ${name}, namespace: ${namespace} }\nspec: ${spec}\n`;
const cnp = (name: string, tier: string, priority: number, rest: string): string =>
  `apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: { name: ${name} }\nspec: { tier: ${tier}, priority: ${priority}, ${rest} }\n`;

const DENY_IN = np('x', 'deny-in', '{ podSelector: {}, policyTypes: [Ingress] }');
const DENY_OUT = np('x', 'deny-out', '{ podSelector: {}, policyTypes: [Egress] }');
const ns = (name: string): string => `{ matchLabels: { ns: ${name} } }`;
const on = (name: string): string => `{ matchLabels: { pod: ${name} } }`;
const SUBJECT_X = `subject: { namespaces: ${ns('x')} }`;

export const CASES: readonly Case[] = [
  {
    line: '1',
    title: 'no policy: everything is open',
    policies: [],
    open: ['x/a>y/b:80', 'y/b>x/a:81u', 'x/a>x/c:icmp'],
    shut: [],
  },
  {
    line: '2',
    title: 'an empty podSelector selects every pod of the namespace, and only those',
    policies: [DENY_IN],
    open: ['x/a>y/a:80', 'y/a>z/b:80', 'x/b>y/c:80u'],
    shut: ['y/a>x/a:80', 'y/a>x/b:80', 'x/a>x/c:80', 'x/a>x/b:80u', 'y/a>x/c:icmp'],
  },
  {
    line: '3',
    title: 'types isolate one direction and leave the other',
    policies: [DENY_OUT],
    open: ['y/a>x/a:80', 'z/b>x/b:80u'],
    shut: ['x/a>y/a:80', 'x/a>x/c:80', 'x/b>y/b:81u', 'x/c>z/a:icmp', 'x/a>out:80'],
  },
  {
    line: '4',
    title: 'types left out: ingress always, egress only with egress rules',
    policies: [np('x', 'p', `{ podSelector: ${on('a')} }`)],
    open: ['x/a>y/a:80', 'y/a>x/b:80'],
    shut: ['y/a>x/a:80', 'x/b>x/a:80u'],
  },
  {
    line: '4',
    title: 'types left out, with egress rules: both',
    policies: [np('x', 'p', `{ podSelector: ${on('a')}, egress: [{ to: [{ podSelector: ${on('b')} }] }] }`)],
    open: ['x/a>x/b:80', 'x/c>x/b:80'],
    shut: ['x/a>x/c:80', 'x/b>x/a:80', 'x/a>y/b:80'],
  },
  {
    line: '5',
    title: 'one empty rule accepts everything',
    policies: [np('x', 'p', '{ podSelector: {}, ingress: [{}] }')],
    open: ['y/a>x/a:80', 'z/b>x/c:81u', 'y/a>x/b:icmp'],
    shut: [],
  },
  {
    line: '6',
    title: 'policies add up',
    policies: [
      DENY_IN,
      np('x', 'from-y', `{ podSelector: {}, ingress: [{ from: [{ namespaceSelector: ${ns('y')} }] }] }`),
    ],
    open: ['y/a>x/a:80', 'y/b>x/a:81u', 'y/c>x/b:80'],
    shut: ['z/a>x/a:80', 'x/b>x/a:80'],
  },
  {
    line: '7',
    title: 'both sides must accept',
    policies: [
      np(
        'x',
        'out',
        `{ podSelector: {}, policyTypes: [Egress], egress: [{ to: [{ namespaceSelector: ${ns('y')} }] }] }`,
      ),
      np('y', 'in', `{ podSelector: ${on('a')}, ingress: [{ from: [{ namespaceSelector: ${ns('z')} }] }] }`),
    ],
    open: ['x/a>y/b:80', 'x/a>y/c:80u', 'z/a>y/a:80'],
    shut: ['x/a>y/a:80', 'x/b>y/a:80u', 'x/a>z/a:80'],
  },
  {
    line: '10',
    title: 'expressions: NotIn matches what lacks the label',
    policies: [
      np(
        'x',
        'p',
        `{ podSelector: { matchExpressions: [{ key: pod, operator: In, values: [a, b] }] }, ingress: [{ from: [{ namespaceSelector: { matchExpressions: [{ key: ns, operator: NotIn, values: [y] }, { key: nothing, operator: DoesNotExist }] } }] }] }`,
      ),
    ],
    open: ['z/a>x/a:80', 'x/c>x/b:80', 'y/a>x/c:80'],
    shut: ['y/a>x/a:80', 'y/b>x/b:81u'],
  },
  {
    line: '11, 12, 13',
    title: 'selectors in one element are both needed, in two either will do',
    policies: [
      np(
        'x',
        'and',
        `{ podSelector: ${on('a')}, ingress: [{ from: [{ namespaceSelector: ${ns('y')}, podSelector: ${on('b')} }] }] }`,
      ),
      np(
        'x',
        'or',
        `{ podSelector: ${on('b')}, ingress: [{ from: [{ namespaceSelector: ${ns('y')} }, { podSelector: ${on('c')} }] }] }`,
      ),
    ],
    open: ['y/b>x/a:80', 'y/a>x/b:80', 'y/c>x/b:80', 'x/c>x/b:80'],
    shut: ['y/a>x/a:80', 'x/b>x/a:80', 'z/c>x/b:80', 'x/a>x/b:80'],
  },
  {
    line: '15',
    title: 'a namespace by its name',
    policies: [
      np(
        'x',
        'p',
        '{ podSelector: {}, ingress: [{ from: [{ namespaceSelector: { matchLabels: { kubernetes.io/metadata.name: y } } }] }] }',
      ),
    ],
    open: ['y/a>x/a:80', 'y/b>x/a:80'],
    shut: ['z/a>x/a:80', 'x/b>x/a:80'],
  },
  {
    line: '14, 16, 18',
    title: 'prefixes: one family at a time, less what is excepted',
    policies: [
      np(
        'x',
        'p',
        "{ podSelector: {}, policyTypes: [Egress], egress: [{ to: [{ ipBlock: { cidr: 0.0.0.0/0, except: [203.0.113.0/28] } }, { ipBlock: { cidr: '::/0', except: ['2001:db8::/120'] } }] }] }",
      ),
    ],
    open: ['x/a>y/a:80', 'x/a>y/b:81u'],
    shut: ['x/a>out:80', 'x/b>out:80'],
  },
  {
    line: '17, 20',
    title: 'what one peer excepts, another may accept; host bits mean nothing',
    policies: [
      np(
        'x',
        'p',
        "{ podSelector: {}, policyTypes: [Egress], egress: [{ to: [{ ipBlock: { cidr: 203.0.113.77/24, except: [203.0.113.10/32] } }, { ipBlock: { cidr: 203.0.113.10/32 } }, { ipBlock: { cidr: '2001:db8::10/128' } }], ports: [{ port: 80 }] }] }",
      ),
    ],
    open: ['x/a>out:80', 'x/b>out:80'],
    shut: ['x/a>y/a:80', 'x/a>x/c:80'],
  },
  {
    line: '23, 24',
    title: 'a port without a protocol is TCP, and opens no UDP; a protocol without a port is all of it',
    policies: [
      np('x', 'p', `{ podSelector: ${on('a')}, ingress: [{ ports: [{ port: 80 }] }] }`),
      np('x', 'q', `{ podSelector: ${on('b')}, ingress: [{ ports: [{ protocol: UDP }] }] }`),
    ],
    open: ['y/a>x/a:80', 'y/a>x/b:80u', 'y/b>x/b:81u'],
    shut: ['y/a>x/a:80u', 'y/a>x/a:81', 'y/a>x/b:80', 'y/a>x/a:icmp', 'y/a>x/b:icmp'],
  },
  {
    line: '24',
    title: 'a rule for SCTP isolates everything else all the same',
    policies: [np('x', 'p', `{ podSelector: ${on('a')}, ingress: [{ ports: [{ protocol: SCTP, port: 80 }] }] }`)],
    open: ['y/a>x/b:80'],
    shut: ['y/a>x/a:80', 'y/a>x/a:80u', 'y/b>x/a:81'],
  },
  {
    line: '25',
    title: 'ranges of ports hold both ends, and overlap',
    policies: [
      np(
        'x',
        'p',
        `{ podSelector: ${on('a')}, ingress: [{ ports: [{ port: 1, endPort: 80 }, { port: 70, endPort: 80 }, { port: 81, endPort: 65535, protocol: UDP }] }] }`,
      ),
      np(
        'x',
        'q',
        `{ podSelector: ${on('b')}, policyTypes: [Egress], egress: [{ ports: [{ port: 81, endPort: 81 }] }] }`,
      ),
    ],
    open: ['y/a>x/a:80', 'y/b>x/a:81u', 'x/b>y/a:81'],
    shut: ['y/a>x/a:81', 'y/a>x/a:80u', 'x/b>y/a:80', 'x/b>y/a:81u'],
  },
  {
    line: '26',
    title: 'a named port is each pod’s own number',
    policies: [np('x', 'p', '{ podSelector: {}, ingress: [{ ports: [{ port: web }] }] }')],
    open: ['y/a>x/a:80', 'y/a>x/b:80', 'y/a>x/c:81'],
    shut: ['y/a>x/a:81', 'y/a>x/c:80', 'y/b>x/a:80u'],
  },
  {
    line: '27',
    title: 'a named port of an egress rule is the receiver’s, and nothing outside',
    policies: [np('x', 'p', '{ podSelector: {}, policyTypes: [Egress], egress: [{ ports: [{ port: web }] }] }')],
    open: ['x/a>y/a:80', 'x/a>y/b:80', 'x/a>y/c:81', 'x/b>x/c:81'],
    shut: ['x/a>y/a:81', 'x/a>y/c:80', 'x/a>out:80', 'x/a>y/a:80u'],
  },
  {
    line: '28',
    title: 'a name that no port has, or of another protocol: nothing, and isolated',
    policies: [
      np('x', 'p', `{ podSelector: ${on('a')}, ingress: [{ ports: [{ port: nope }] }] }`),
      np('x', 'q', `{ podSelector: ${on('b')}, ingress: [{ ports: [{ port: web, protocol: UDP }] }] }`),
    ],
    open: ['y/a>x/c:80'],
    shut: ['y/a>x/a:80', 'y/a>x/b:80', 'y/a>x/b:80u'],
  },
  {
    line: '30, 38',
    title: 'behind a Service the pod’s own port counts',
    policies: [
      np(
        'x',
        'p',
        `{ podSelector: ${on('b')}, ingress: [{ from: [{ namespaceSelector: ${ns('y')} }], ports: [{ port: 80 }] }] }`,
      ),
    ],
    open: ['y/a>x/svc-b:8000', 'y/b>x/svc-b:8000', 'y/a>x/b:80', 'z/a>y/svc-b:8000'],
    shut: ['z/a>x/svc-b:8000', 'z/b>x/svc-b:8000', 'z/a>x/b:80', 'x/a>x/svc-b:8000'],
  },
  {
    line: '30',
    title: 'the Service’s port opens nothing',
    policies: [np('x', 'p', '{ podSelector: {}, policyTypes: [Egress], egress: [{ ports: [{ port: 8000 }] }] }')],
    open: ['y/a>x/svc-b:8000'],
    shut: ['x/a>y/svc-b:8000', 'x/a>y/b:80'],
  },
  {
    line: '31',
    title: 'a rule for all ports accepts ICMP, one for a port does not',
    policies: [
      np('x', 'p', `{ podSelector: ${on('a')}, ingress: [{ from: [{ namespaceSelector: ${ns('y')} }] }] }`),
      np(
        'x',
        'q',
        `{ podSelector: ${on('b')}, ingress: [{ from: [{ namespaceSelector: ${ns('y')} }], ports: [{ port: 80 }] }] }`,
      ),
    ],
    open: ['y/a>x/a:icmp', 'y/b>x/a:icmp', 'y/a>x/b:80'],
    shut: ['z/a>x/a:icmp', 'y/a>x/b:icmp'],
  },
  {
    line: '60',
    title: 'Admin denies what a NetworkPolicy accepts',
    policies: [
      np('x', 'all', '{ podSelector: {}, ingress: [{}] }'),
      cnp('deny', 'Admin', 10, `${SUBJECT_X}, ingress: [{ action: Deny, from: [{ namespaces: ${ns('y')} }] }]`),
    ],
    open: ['z/a>x/a:80', 'x/b>x/a:80', 'z/b>x/b:icmp'],
    shut: ['y/a>x/a:80', 'y/b>x/a:81u', 'y/a>x/b:icmp'],
  },
  {
    line: '60',
    title: 'Admin accepts what a NetworkPolicy denies; Pass leaves it to that',
    policies: [
      DENY_IN,
      cnp(
        'admin',
        'Admin',
        10,
        `${SUBJECT_X}, ingress: [{ action: Pass, from: [{ pods: { namespaceSelector: ${ns('y')}, podSelector: ${on('b')} } }] }, { action: Accept, from: [{ namespaces: ${ns('y')} }], protocols: [{ tcp: { destinationPort: { number: 80 } } }, { udp: { destinationPort: { range: { start: 80, end: 81 } } } }] }]`,
      ),
    ],
    open: ['y/a>x/a:80', 'y/c>x/b:81u', 'y/a>x/c:80u'],
    shut: ['y/b>x/a:80', 'y/a>x/a:81', 'z/a>x/a:80', 'y/a>x/a:icmp'],
  },
  {
    line: '61',
    title: 'Pass in Baseline ends Baseline',
    policies: [
      cnp(
        'default',
        'Baseline',
        5,
        `subject: { namespaces: {} }, ingress: [{ action: Pass, from: [{ pods: { podSelector: ${on('a')} } }] }, { action: Deny, from: [{ namespaces: {} }] }]`,
      ),
    ],
    open: ['y/a>x/a:80', 'x/a>z/b:80u', 'x/a>out:80'],
    shut: ['y/b>x/a:80', 'x/c>z/b:80u', 'y/c>x/b:icmp'],
  },
  {
    line: '61, 8',
    title: 'Baseline counts where no NetworkPolicy isolates, and only there',
    policies: [
      cnp(
        'default',
        'Baseline',
        5,
        'subject: { namespaces: {} }, ingress: [{ action: Deny, from: [{ namespaces: {} }] }]',
      ),
      np('x', 'p', `{ podSelector: ${on('a')}, ingress: [{ from: [{ namespaceSelector: ${ns('y')} }] }] }`),
    ],
    open: ['y/a>x/a:80', 'y/b>x/a:80'],
    shut: ['z/a>x/a:80', 'y/a>x/b:80', 'y/b>z/a:80u'],
  },
  {
    line: '62, 64',
    title: 'priorities: 0 comes before 1000; the order of rules within one policy',
    policies: [
      cnp('late', 'Admin', 1000, `${SUBJECT_X}, ingress: [{ action: Deny, from: [{ namespaces: {} }] }]`),
      cnp(
        'early',
        'Admin',
        0,
        `${SUBJECT_X}, ingress: [{ action: Accept, from: [{ namespaces: ${ns('y')} }], protocols: [{ destinationNamedPort: web }] }, { action: Deny, from: [{ namespaces: ${ns('y')} }] }, { action: Accept, from: [{ namespaces: {} }], protocols: [{ udp: {} }] }]`,
      ),
    ],
    open: ['y/a>x/a:80', 'y/a>x/c:81', 'z/a>x/a:80u', 'z/b>x/b:81u', 'x/a>y/a:80'],
    shut: ['y/a>x/a:81', 'y/a>x/a:80u', 'z/a>x/a:80', 'z/a>x/c:icmp'],
  },
  {
    line: '63',
    title: 'a NetworkPolicy for ingress leaves egress to Baseline',
    policies: [
      np('x', 'p', '{ podSelector: {}, ingress: [{}] }'),
      cnp('default', 'Baseline', 1, `${SUBJECT_X}, egress: [{ action: Deny, to: [{ namespaces: ${ns('y')} }] }]`),
    ],
    open: ['y/a>x/a:80', 'x/a>z/a:80', 'x/a>x/b:80'],
    shut: ['x/a>y/a:80', 'x/b>y/b:80u', 'x/a>y/c:icmp'],
  },
  {
    line: '65',
    title: 'an Admin Accept of the sender does not speak for the receiver',
    policies: [
      cnp('out', 'Admin', 1, `${SUBJECT_X}, egress: [{ action: Accept, to: [{ namespaces: {} }] }]`),
      cnp(
        'in',
        'Admin',
        2,
        `subject: { pods: { namespaceSelector: ${ns('y')}, podSelector: ${on('a')} } }, ingress: [{ action: Deny, from: [{ namespaces: ${ns('x')} }] }]`,
      ),
    ],
    open: ['x/a>y/b:80', 'z/a>y/a:80'],
    shut: ['x/a>y/a:80', 'x/b>y/a:80u'],
  },
  {
    line: '66',
    refused: true,
    title: 'a peer of a kind that is not known: Accept matches nothing, Deny everything',
    policies: [
      cnp(
        'deny',
        'Admin',
        1,
        `subject: { pods: { namespaceSelector: ${ns('x')}, podSelector: ${on('a')} } }, egress: [{ action: Deny, to: [{ planets: {} }] }]`,
      ),
      cnp(
        'accept',
        'Admin',
        2,
        `subject: { pods: { namespaceSelector: ${ns('x')}, podSelector: ${on('b')} } }, egress: [{ action: Accept, to: [{ planets: {} }] }, { action: Deny, to: [{ namespaces: ${ns('y')} }] }]`,
      ),
    ],
    open: ['y/a>x/a:80', 'x/b>z/a:80', 'x/c>y/a:80'],
    shut: ['x/a>y/a:80', 'x/a>out:80', 'x/b>y/a:80'],
  },
  {
    line: '18',
    title: 'networks of a ClusterNetworkPolicy hold pods too',
    policies: [
      cnp(
        'no-internet',
        'Admin',
        1,
        `${SUBJECT_X}, egress: [{ action: Pass, to: [{ namespaces: ${ns('y')} }] }, { action: Deny, to: [{ networks: ['0.0.0.0/0', '::/0'] }] }]`,
      ),
    ],
    open: ['x/a>y/a:80', 'x/a>y/b:icmp', 'z/a>x/a:80'],
    shut: ['x/a>out:80', 'x/a>z/a:80', 'x/a>x/b:80', 'x/b>x/a:icmp'],
  },
  {
    line: '76',
    title: 'a ServiceAccount is who runs the pod, and no label that somebody gave it',
    policies: [
      np(
        'x',
        'robots',
        '{ podSelector: {}, ingress: [{ from: [{ namespaceSelector: {}, podSelector: { matchLabels: { bulkhead.dev/service-account: robot } } }] }] }',
      ),
      cnp(
        'people',
        'Admin',
        4,
        `subject: { pods: { namespaceSelector: ${ns('z')}, podSelector: { matchLabels: { bulkhead.dev/service-account: robot } } } }, ingress: [{ action: Deny, from: [{ namespaces: {} }] }]`,
      ),
    ],
    open: ['y/b>x/a:80', 'x/b>x/c:80u', 'y/a>z/a:80', 'y/a>z/c:80'],
    shut: ['y/a>x/a:80', 'y/c>x/a:80', 'z/c>x/b:81u', 'y/a>z/b:80', 'z/a>z/b:80u'],
  },
  {
    line: '55',
    title: 'what cannot be read fails closed, and the rest of the policy holds',
    policies: [
      np(
        'x',
        'p',
        `{ podSelector: ${on('a')}, ingress: [{ from: [{ ipBlock: { cidr: nonsense } }] }, { from: [{ namespaceSelector: ${ns('y')} }] }] }`,
      ),
      np('x', 'q', `{ podSelector: { matchExpressions: [{ key: pod, operator: Maybe }] }, ingress: [{}] }`),
    ],
    open: ['y/a>x/a:80', 'z/a>y/a:80'],
    shut: ['z/a>x/a:80', 'y/a>x/b:80', 'x/b>y/a:80'],
  },
];
