import { describe, expect, test } from 'vitest';
import { exampleNetwork, exampleState } from '../cluster/example.ts';
import { compile } from '../node-config/compile.ts';
import { viewOf } from '../view/view.ts';
import { closedBackends } from './node-ports.ts';

const state = exampleState();
const web = state.services.get('a/web')!;
const withAccess = (nodePortAccess: 'All' | 'External', service: object = {}) =>
  viewOf({
    ...state,
    networks: new Map(state.networks).set(
      'a/default',
      exampleNetwork('a', 'default', 2, { services: { nodePortAccess } }),
    ),
    services: new Map(state.services).set('a/web', {
      ...web,
      type: 'NodePort',
      ports: web.ports.map((p) => ({ ...p, nodePort: 31_000 })),
      ...service,
    }),
  });

describe('backends that are closed to pods of the flat network', () => {
  test('those of exposed Services of a network with access External, and every node hears of them', () => {
    const view = withAccess('External');
    const backends = [...closedBackends(view).values()].flatMap((c) => c.backends);
    expect(new Set(backends.map((b) => b.ip))).toEqual(new Set(['10.244.1.5', '10.244.2.5']));
    expect(backends.every((b) => b.protocol === 'TCP')).toBe(true);
    // A node without a pod of the network translates for it all the same.
    for (const node of ['n1', 'n2'])
      expect(compile(view, node).closed.get('a/default')).toEqual(closedBackends(view).get('a/default'));
  });

  test('none with access All, and none of a Service that nothing outside reaches', () => {
    expect(closedBackends(withAccess('All')).size).toBe(0);
    const inner = { type: 'ClusterIP', ports: web.ports };
    expect(closedBackends(withAccess('External', inner)).size).toBe(0);
  });
});
