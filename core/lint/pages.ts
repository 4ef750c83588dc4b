import { LINT_CODES, type LintCode } from './codes.ts';

/** What there is to know about a code, for `--explain` and docs/reference/lint.md. */
export type LintPage = {
  /** One sentence: what was found. */
  readonly what: string;
  /** Why that is hardly meant, and when it is. */
  readonly why: string;
  /** A policy that has it, beside the objects of {@link PAGE_WORLD}. */
  readonly example: string;
  /** The policy as it was meant. */
  readonly cure: string;
};

/** The examples are about these objects. */
export const PAGE_WORLD = `apiVersion: v1
kind: Namespace
metadata: { name: shop, labels: { team: shop } }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: web, namespace: shop }
spec:
  template:
    metadata: { labels: { app: web } }
    spec: { containers: [{ name: web, ports: [{ name: http, containerPort: 8080 }] }] }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: db, namespace: shop }
spec:
  template:
    metadata: { labels: { app: db } }
    spec: { containers: [{ name: db, ports: [{ name: sql, containerPort: 5432 }] }] }
---
apiVersion: v1
kind: Pod
metadata: { name: cache, namespace: shop, labels: { app: cache } }
spec: { containers: [{ name: cache }] }
status: { podIPs: [{ ip: 10.1.2.3 }] }
---
apiVersion: apps/v1
kind: DaemonSet
metadata: { name: exporter, namespace: shop }
spec:
  template:
    metadata: { labels: { app: exporter } }
    spec: { hostNetwork: true, containers: [{ name: exporter }] }
---
apiVersion: v1
kind: Pod
metadata: { name: setup, namespace: shop, labels: { app: setup } }
spec: { containers: [{ name: setup }] }
status: { phase: Succeeded }
---
apiVersion: v1
kind: Service
metadata: { name: web, namespace: shop }
spec:
  clusterIP: 10.96.0.20
  selector: { app: web }
  ports: [{ name: http, port: 80, targetPort: 8080 }]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: web-1, namespace: shop, labels: { kubernetes.io/service-name: web } }
addressType: IPv4
ports: [{ name: http, port: 8080, protocol: TCP }]
endpoints: [{ addresses: [10.1.2.4], targetRef: { kind: Pod, namespace: shop, name: web } }]
`;

const policy = (spec: string, name = 'example'): string => `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: ${name}, namespace: shop }
spec:
${spec.replace(/^/gm, '  ').trimEnd()}
`;

const clusterPolicy = (spec: string, name = 'example'): string => `apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: { name: ${name} }
spec:
  tier: Admin
${spec.replace(/^/gm, '  ').trimEnd()}
`;

const fromWeb = (spec: string): string => policy(`podSelector: { matchLabels: { app: db } }\n${spec}`);

const FROM_WEB = 'ingress:\n- from: [{ podSelector: { matchLabels: { app: web } } }]\n  ports: [{ port: 5432 }]';

export const LINT_PAGES: Readonly<Record<LintCode, LintPage>> = {
  Unreadable: {
    what: 'A part of the policy cannot be read, and fails closed.',
    why: 'A misspelt field, a number where text must be, an address that is none, an `endPort` below `port`. The API server refuses most of these; what it lets through admits nothing.',
    example: fromWeb('ingress:\n- from: [{ podselector: { matchLabels: { app: web } } }]'),
    cure: fromWeb(FROM_WEB),
  },
  UnusedDirection: {
    what: 'The policy has rules for a direction that its `policyTypes` leave out.',
    why: 'Kubernetes ignores them: nothing is isolated in that direction, and nothing is admitted either.',
    example: policy(`podSelector: {}
policyTypes: [Ingress]
egress:
- to: [{ podSelector: { matchLabels: { app: db } } }]
- ports: [{ protocol: UDP, port: 53 }]`),
    cure: policy(`podSelector: {}
policyTypes: [Egress]
egress:
- to: [{ podSelector: { matchLabels: { app: db } } }]
- ports: [{ protocol: UDP, port: 53 }]`),
  },
  OverBudget: {
    what: 'The policy is beyond what a policy, a namespace or a pod may ask for, and is closed.',
    why: 'It isolates the pods that it selects and admits nothing. [Budgets](budgets.md) has all numbers.',
    example: Array.from({ length: 257 }, (_, i) => policy(FROM_WEB.replace('podSelector', `podSelector`), `p${i}`))
      .map((text, i) => text.replace('spec:\n', `spec:\n  podSelector: { matchLabels: { app: web, n: "${i}" } }\n`))
      .join('---\n'),
    cure: fromWeb(FROM_WEB),
  },
  NotJudged: {
    what: 'The input has policies of kinds that Bulkhead does not enforce.',
    why: 'Neither `lint` nor `explain` knows what they say: an answer may be wrong where they would have a say.',
    example: `apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: { name: example, namespace: shop }
spec: { endpointSelector: {} }
`,
    cure: policy('podSelector: {}'),
  },
  SelectsNothing: {
    what: 'The policy selects no pod, though its namespace has pods.',
    why: 'Mostly a misspelt label; the message names one that is written almost the same.',
    example: policy(`podSelector: { matchLabels: { app: wbe } }\n${FROM_WEB}`),
    cure: fromWeb(FROM_WEB),
  },
  MatchesNothing: {
    what: 'A peer of a rule matches no pod, though there are pods where it looks.',
    why: 'A `podSelector` without a `namespaceSelector` looks in the namespace of the policy only. Two list entries mean either, one entry with both selectors means both. When the input is manifests alone and the namespaces are not selected by name, it is an info: pods that are not in the input may match.',
    example: fromWeb('ingress:\n- from: [{ podSelector: { matchLabels: { app: wbe } } }]'),
    cure: fromWeb(FROM_WEB),
  },
  NoSuchNamespace: {
    what: 'A `namespaceSelector` matches no namespace.',
    why: 'Without labels of your own, select by `kubernetes.io/metadata.name`, which every namespace has. When the input is manifests alone, a namespace that is only not in the input is an info: one that is selected by its name, or by a label that no namespace of the input has.',
    example: fromWeb('ingress:\n- from: [{ namespaceSelector: { matchLabels: { team: shopp } } }]'),
    cure: fromWeb('ingress:\n- from: [{ namespaceSelector: { matchLabels: { team: shop } } }]'),
  },
  EmptyBlock: {
    what: 'An `ipBlock` holds no address, since its exceptions cover it.',
    why: 'The rule looks as if it admitted something.',
    example: fromWeb('ingress:\n- from: [{ ipBlock: { cidr: 192.0.2.0/24, except: [192.0.2.0/25, 192.0.2.128/25] } }]'),
    cure: fromWeb('ingress:\n- from: [{ ipBlock: { cidr: 192.0.2.0/24, except: [192.0.2.0/25] } }]'),
  },
  EmptyList: {
    what: 'A list of destinations or ports is there and empty, which means all of them.',
    why: 'It reads like "none". Leave the field out to mean all, so that a reader sees it.',
    example: fromWeb('ingress:\n- from: [{ podSelector: { matchLabels: { app: web } } }]\n  ports: []'),
    cure: fromWeb(FROM_WEB),
  },
  NoSuchPort: {
    what: 'A rule names a port that no receiver has, or has by another protocol.',
    why: 'Names are those of the containers of the pod that receives, and a port without `protocol` means TCP. Where pods that are not in the manifests may have the name, it is an info.',
    example: fromWeb('ingress:\n- from: [{ podSelector: {} }]\n  ports: [{ port: postgres }]'),
    cure: fromWeb('ingress:\n- from: [{ podSelector: {} }]\n  ports: [{ port: sql }]'),
  },
  ServicePort: {
    what: 'A rule has the port of a Service, or a node port, and the pods listen on another.',
    why: 'Policies see packets behind the translation of Services: the port of the pod.',
    example: policy(
      'podSelector: { matchLabels: { app: web } }\ningress:\n- from: [{ podSelector: {} }]\n  ports: [{ port: 80 }]',
    ),
    cure: policy(
      'podSelector: { matchLabels: { app: web } }\ningress:\n- from: [{ podSelector: {} }]\n  ports: [{ port: 8080 }]',
    ),
  },
  ServiceByAddress: {
    what: 'An `ipBlock` is the address of a Service: a cluster IP, an external IP, or that of a load balancer.',
    why: 'Policies see the pods behind a Service, never its address. The rule admits nothing.',
    example: policy(`podSelector: { matchLabels: { app: db } }
policyTypes: [Egress]
egress:
- to: [{ ipBlock: { cidr: 10.96.0.20/32 } }]
- ports: [{ protocol: UDP, port: 53 }]`),
    cure: policy(`podSelector: { matchLabels: { app: db } }
policyTypes: [Egress]
egress:
- to: [{ podSelector: { matchLabels: { app: web } } }]
- ports: [{ protocol: UDP, port: 53 }]`),
  },
  PodByAddress: {
    what: 'An `ipBlock` is the address of a pod.',
    why: 'The pod has another address once it starts anew, and another pod may get this one. Pods that ask for their address (`bulkhead.dev/ips`) are left out.',
    example: fromWeb('ingress:\n- from: [{ ipBlock: { cidr: 10.1.2.3/32 } }]'),
    cure: fromWeb('ingress:\n- from: [{ podSelector: { matchLabels: { app: cache } } }]'),
  },
  NoDNS: {
    what: 'The pods that the policy selects may send nothing to DNS (UDP 53).',
    why: 'Other rules are of no use to a program that cannot resolve a name. Other policies that admit DNS for any of these pods count.',
    example: policy(`podSelector: { matchLabels: { app: web } }
policyTypes: [Egress]
egress:
- to: [{ podSelector: { matchLabels: { app: db } } }]
  ports: [{ port: 5432 }]`),
    cure: policy(`podSelector: { matchLabels: { app: web } }
policyTypes: [Egress]
egress:
- to: [{ podSelector: { matchLabels: { app: db } } }]
  ports: [{ port: 5432 }]
- to: [{ namespaceSelector: {} }]
  ports: [{ protocol: UDP, port: 53 }, { protocol: TCP, port: 53 }]`),
  },
  NeverDecides: {
    what: 'A rule has no say about any connection: others, which the message names, come first wherever it matches.',
    why: 'In a ClusterNetworkPolicy the order of rules counts. Between NetworkPolicies that admit the same, it is an info: each is right by itself.',
    example: clusterPolicy(`priority: 1
subject: { namespaces: {} }
ingress:
- { name: closed, action: Deny, from: [{ namespaces: {} }] }
- { name: team, action: Accept, from: [{ namespaces: { matchLabels: { team: shop } } }] }`),
    cure: clusterPolicy(`priority: 1
subject: { namespaces: {} }
ingress:
- { name: team, action: Accept, from: [{ pods: { namespaceSelector: {}, podSelector: { matchLabels: { app: web } } } }] }
- { name: closed, action: Deny, from: [{ namespaces: {} }] }`),
  },
  DuplicateRule: {
    what: 'A rule says the same as an earlier one of its policy.',
    why: 'One of the two was meant to say something else, or is left over.',
    example: fromWeb(`${FROM_WEB}\n${FROM_WEB.replace('ingress:\n', '')}`),
    cure: fromWeb(FROM_WEB),
  },
  DuplicatePolicy: {
    what: 'A policy says the same of the same pods as another one.',
    why: 'One of the two was meant for something else, or is left over: a change of one alone closes nothing.',
    example: [policy(FROM_WEB, 'one'), policy(FROM_WEB, 'two')]
      .map((text) => text.replace('spec:\n', 'spec:\n  podSelector: { matchLabels: { app: db } }\n'))
      .join('---\n'),
    cure: fromWeb(FROM_WEB),
  },
  EqualPriority: {
    what: 'ClusterNetworkPolicies of one tier have the same priority.',
    why: 'The specification leaves their order open. Bulkhead asks them by name, and that is hardly what you want to rely on.',
    example: [
      clusterPolicy(
        'priority: 1\nsubject: { namespaces: {} }\negress: [{ action: Deny, to: [{ networks: [192.0.2.0/24] }] }]',
        'one',
      ),
      clusterPolicy(
        'priority: 1\nsubject: { namespaces: {} }\negress: [{ action: Accept, to: [{ networks: [192.0.2.0/25] }] }]',
        'two',
      ),
    ].join('---\n'),
    cure: clusterPolicy(
      'priority: 1\nsubject: { namespaces: {} }\negress: [{ action: Deny, to: [{ networks: [192.0.2.0/24] }] }]',
    ),
  },
  OpenToTheWorld: {
    what: 'An ingress rule without peers accepts from everywhere.',
    why: 'Often that is meant, and then it is an info. An empty list (`from: []`) reads like "no one" and is a warning.',
    example: policy('podSelector: { matchLabels: { app: web } }\ningress:\n- from: []\n  ports: [{ port: 8080 }]'),
    cure: policy(
      'podSelector: { matchLabels: { app: web } }\ningress:\n- from: [{ namespaceSelector: {} }]\n  ports: [{ port: 8080 }]',
    ),
  },
  HostNetwork: {
    what: "A selector means only pods of the host's network.",
    why: 'Such a pod has the address of its node, and no policy holds for it. As a peer, name the addresses of the nodes with an `ipBlock`.',
    example: fromWeb('ingress:\n- from: [{ podSelector: { matchLabels: { app: exporter } } }]'),
    cure: fromWeb('ingress:\n- from: [{ ipBlock: { cidr: 192.0.2.0/28 } }]'),
  },
  MadeAtRunTime: {
    what: 'A selector means pods that no manifest has, since a program makes them.',
    why: 'Told by labels of well-known operators, by custom objects of the input, and by label domains that no pod of the input has.',
    example: fromWeb('ingress:\n- from: [{ podSelector: { matchLabels: { strimzi.io/cluster: orders } } }]'),
    cure: fromWeb(FROM_WEB),
  },
  NoPods: {
    what: 'A selector looks in namespaces that have no pods at all in the input.',
    why: 'The input is a part of a cluster. The rest of the policy is looked at all the same.',
    example: policy(FROM_WEB)
      .replace('namespace: shop', 'namespace: elsewhere')
      .replace('spec:\n', 'spec:\n  podSelector: {}\n'),
    cure: fromWeb(FROM_WEB),
  },
  Finished: {
    what: 'A selector means only pods that have ended.',
    why: 'Such a pod has no network any more. Later pods of the same Job are selected.',
    example: fromWeb('ingress:\n- from: [{ podSelector: { matchLabels: { app: setup } } }]'),
    cure: fromWeb(FROM_WEB),
  },
};

/** A page for a terminal: Markdown reads well there too. */
export function pageText(code: LintCode): string {
  const { what, why, example, cure } = LINT_PAGES[code];
  return `${code} (${LINT_CODES[code].severity})

${what}
${why}

Example:

${indented(shortened(example))}

Better:

${indented(shortened(cure))}`;
}

/** docs/reference/lint.md, in full. */
export function lintReference(): string {
  const codes = Object.keys(LINT_PAGES) as LintCode[];
  const fenced = (text: string): string => `\`\`\`yaml\n${shortened(text).trimEnd()}\n\`\`\``;
  return `<!-- Written by 'make generate' from core/lint/pages.ts. -->
<!-- lab: test/pages/tenants.yaml --nodes 2 -->
<!-- no YAML is applied -->
# Findings of \`bulkhead policy lint\`

\`\`\`console
$ kubectl bulkhead policy lint                                  # the policies of a cluster
$ kubectl bulkhead policy lint -f manifests/                    # of files, without a cluster
$ kubectl bulkhead policy lint -f manifests/ --disable NoDNS    # without a code; --only has the opposite effect
$ kubectl bulkhead policy lint --explain NoDNS                  # what is written here
$ kubectl bulkhead policy lint -f manifests/ -o sarif > lint.sarif   # for pull requests, with file and line
\`\`\`

A finding is an **error** (it cannot be meant), a **warning** (it is hardly meant) or an **info** (it is worth knowing,
and no mistake). The command ends with code 3 for an error or a warning, and with 0 when there are none: see
[exit codes](exit-codes.md). \`--severity warning\` hides infos.

The annotation \`bulkhead.dev/lint-disable: NoDNS, NeverDecides\` on a policy switches codes off for that policy.

Findings are about the pods of the input, as \`bulkhead explain\` judges them. Manifests are a part of a cluster: what is
only not in the input is an info.

| code | severity | |
|---|---|---|
${codes.map((c) => `| [${c}](#${c.toLowerCase()}) | ${LINT_CODES[c].severity} | ${LINT_PAGES[c].what} |`).join('\n')}

The examples are about these objects:

<details><summary>namespace shop</summary>

\`\`\`yaml
${PAGE_WORLD.trimEnd()}
\`\`\`
</details>

${codes
  .map(
    (c) => `## ${c}
${wrapped(LINT_PAGES[c].what)}
${wrapped(LINT_PAGES[c].why)}

${fenced(LINT_PAGES[c].example)}

Better:

${fenced(LINT_PAGES[c].cure)}
`,
  )
  .join('\n')}`;
}

/** An example of very many policies is told by its first one. */
function shortened(text: string): string {
  const documents = text.split('---\n');
  if (documents.length <= MOST_DOCUMENTS) return text.trimEnd();
  return `${(documents[0] ?? '').trimEnd()}\n# … and ${documents.length - 1} more like it`;
}

const MOST_DOCUMENTS = 4;
const indented = (text: string): string => text.replace(/^(?=.)/gm, '  ');

/** Lines of at most 120 columns. */
function wrapped(text: string): string {
  const lines = [''];
  for (const word of text.split(' ')) {
    const line = `${lines.at(-1) ?? ''} ${word}`.trimStart();
    if (line.length > 120) lines.push(word);
    else lines[lines.length - 1] = line;
  }
  return lines.join('\n');
}
