import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseClusterNetworkPolicy } from './cluster-network-policy.ts';
import { readDefinition } from './definition.ts';
import { parseNetworkPolicy } from './network-policy.ts';
import {
  type Raw,
  readEndpointSlice,
  readNamespace,
  readNetwork,
  readNode,
  readPod,
  readRouter,
  readService,
  readSettings,
} from './objects.ts';

// A field that is null is one that is absent: for every field of every kind that is read.

const metadata = {
  namespace: 'a',
  name: 'x',
  uid: 'u',
  generation: 3,
  creationTimestamp: '2026-01-01T00:00:00Z',
  deletionTimestamp: '2026-01-02T00:00:00Z',
  labels: { app: 'x' },
  annotations: { 'bulkhead.dev/network': 'b/c' },
};
const selector = {
  matchLabels: { a: 'b' },
  matchExpressions: [{ key: 'c', operator: 'In', values: ['d'] }],
};
const pods = { namespaceSelector: selector, podSelector: selector };
const rulePorts = [{ protocol: 'UDP', port: 53, endPort: 54 }, { port: 'http' }];
const protocols = [
  { tcp: { destinationPort: { number: 80 } } },
  { udp: { destinationPort: { range: { start: 1, end: 2 } } } },
  { destinationNamedPort: 'http' },
];

const KINDS: Readonly<Record<string, { readonly read: (raw: Raw) => unknown; readonly raw: Raw }>> = {
  NetworkPolicy: {
    read: parseNetworkPolicy,
    raw: {
      metadata,
      spec: {
        podSelector: selector,
        policyTypes: ['Ingress', 'Egress'],
        ingress: [{ from: [pods, { ipBlock: { cidr: '192.0.2.0/24', except: ['192.0.2.1/32'] } }], ports: rulePorts }],
        egress: [{ to: [pods, { podSelector: selector }], ports: rulePorts }],
      },
    },
  },
  ClusterNetworkPolicy: {
    read: parseClusterNetworkPolicy,
    raw: {
      metadata,
      spec: {
        tier: 'Admin',
        priority: 3,
        subject: { pods },
        ingress: [{ name: 'i', action: 'Accept', from: [{ namespaces: selector }, { pods }], protocols }],
        egress: [
          { name: 'e', action: 'Deny', to: [{ nodes: selector }, { networks: ['192.0.2.0/24'] }, { pods }], protocols },
        ],
      },
    },
  },
  Namespace: { read: readNamespace, raw: { metadata } },
  Node: {
    read: readNode,
    raw: {
      metadata,
      spec: { podCIDR: '10.244.0.0/24', podCIDRs: ['10.244.0.0/24'] },
      status: {
        addresses: [{ type: 'InternalIP', address: '192.0.2.1' }],
        conditions: [{ type: 'NetworkUnavailable', status: 'True', reason: 'r', message: 'm' }],
      },
    },
  },
  Pod: {
    read: readPod,
    raw: {
      metadata,
      spec: {
        nodeName: 'n1',
        hostNetwork: true,
        serviceAccountName: 's',
        containers: [{ ports: [{ name: 'http', protocol: 'UDP', containerPort: 80 }] }],
        initContainers: [{ restartPolicy: 'Always', ports: [{ containerPort: 81 }] }],
      },
      status: {
        phase: 'Running',
        podIP: '10.244.0.2',
        podIPs: [{ ip: '10.244.0.2' }],
        conditions: [{ type: 'Ready', status: 'True' }],
      },
    },
  },
  Service: {
    read: readService,
    raw: {
      metadata,
      spec: {
        type: 'LoadBalancer',
        clusterIP: '10.96.0.1',
        clusterIPs: ['10.96.0.1'],
        externalIPs: ['198.51.100.1'],
        loadBalancerSourceRanges: ['198.51.100.0/24'],
        sessionAffinity: 'ClientIP',
        sessionAffinityConfig: { clientIP: { timeoutSeconds: 3 } },
        internalTrafficPolicy: 'Local',
        externalTrafficPolicy: 'Local',
        ports: [{ name: 'http', protocol: 'TCP', port: 80, nodePort: 30_080 }],
      },
      status: { loadBalancer: { ingress: [{ ip: '198.51.100.2', ipMode: 'VIP' }] } },
    },
  },
  EndpointSlice: {
    read: readEndpointSlice,
    raw: {
      metadata,
      addressType: 'IPv4',
      ports: [{ name: 'http', protocol: 'TCP', port: 80 }],
      endpoints: [
        {
          addresses: ['10.244.0.2'],
          conditions: { ready: false, serving: true, terminating: true },
          nodeName: 'n1',
          targetRef: { kind: 'Pod', namespace: 'a', name: 'x' },
          hints: { forZones: [{ name: 'z' }], forNodes: [{ name: 'n1' }] },
        },
      ],
    },
  },
  VirtualNetwork: {
    read: readNetwork,
    raw: {
      metadata,
      spec: {
        subnets: ['10.0.0.0/24'],
        services: { nodePortAccess: 'External', allow: [{ namespace: 'b', name: 's' }] },
        egress: { mode: 'NAT' },
      },
      status: { vni: 7, egressNode: 'n1' },
    },
  },
  VirtualNetworkRouter: {
    read: readRouter,
    raw: { metadata, spec: { networkSelector: selector, exports: [{ networks: selector, ports: [{ port: 80 }] }] } },
  },
  BulkheadConfig: {
    read: readSettings,
    raw: {
      metadata,
      spec: {
        isolation: { newNamespaces: 'Isolated', except: { names: ['a'], matchLabels: { a: 'b' } } },
        subnets: { pools: [] },
        egress: { defaultMode: 'None', limits: [{ modes: ['None'] }] },
        apiServerAccess: 'None',
      },
      status: { isolatingSince: '2026-01-01T00:00:00Z' },
    },
  },
  NetworkAttachmentDefinition: {
    read: readDefinition,
    raw: { metadata, spec: { config: '{"type":"bulkhead","network":"n"}' } },
  },
};

type Path = readonly (string | number)[];

/** Maps whose entries are no fields: null is "" there. */
const MAPS = ['labels', 'annotations', 'matchLabels'];

/** Paths of all fields: those of objects, at any depth. */
function fieldsOf(value: unknown, path: Path = []): Path[] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) => {
    const at = [...path, Array.isArray(value) ? Number(key) : key];
    const isField = !Array.isArray(value) && !MAPS.includes(String(path.at(-1)));
    return [...(isField ? [at] : []), ...fieldsOf(inner, at)];
  });
}

function changed(
  raw: Raw,
  paths: readonly Path[],
  change: (parent: Record<string, unknown>, key: string) => void,
): Raw {
  const copy = structuredClone(raw) as Record<string, unknown>;
  for (const path of paths) {
    const parent = path
      .slice(0, -1)
      .reduce<unknown>((at, key) => (at as Record<string, unknown> | null | undefined)?.[key as string], copy);
    if (typeof parent === 'object' && parent !== null) change(parent as Record<string, unknown>, String(path.at(-1)));
  }
  return copy;
}
const absent = (raw: Raw, paths: readonly Path[]): Raw => changed(raw, paths, (parent, key) => void delete parent[key]);
const nulled = (raw: Raw, paths: readonly Path[]): Raw =>
  changed(raw, paths, (parent, key) => {
    parent[key] = null;
  });

const rows = Object.entries(KINDS).map(([kind, row]) => ({ kind, ...row }));

test.each(rows)('$kind: each field as null is each field left out', ({ read, raw }) => {
  for (const path of fieldsOf(raw))
    expect(read(nulled(raw, [path])), path.join('.')).toEqual(read(absent(raw, [path])));
});

test.each(rows)('$kind: any fields as null are those fields left out', ({ read, raw }) => {
  fc.assert(
    fc.property(fc.subarray(fieldsOf(raw)), (paths) => {
      expect(read(nulled(raw, paths))).toEqual(read(absent(raw, paths)));
    }),
  );
});

test.each(rows)('$kind: the example has no problem', ({ read, raw }) => {
  expect((read(raw) as { problems?: string[] }).problems ?? []).toEqual([]);
});

// As a Go program reads them, which the API server is.
test('null as an entry of a list or of a map of a built-in kind is the empty value', () => {
  const policy = (spec: object): unknown => parseNetworkPolicy({ metadata, spec });
  expect(policy({ podSelector: { matchLabels: { app: null } } })).toEqual(
    policy({ podSelector: { matchLabels: { app: '' } } }),
  );
  expect(policy({ ingress: [null] })).toEqual(policy({ ingress: [{}] }));
  expect(policy({ ingress: [{ ports: [null] }] })).toEqual(policy({ ingress: [{ ports: [{}] }] }));
  expect(policy({ ingress: [{ from: [null] }] })).toMatchObject({
    ingress: [],
    problems: [expect.stringMatching(/ipBlock/)],
  });
  expect(readPod({ metadata: { labels: { app: null } } }).labels).toEqual({ app: '' });
});
