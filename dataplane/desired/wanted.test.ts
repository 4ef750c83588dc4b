import fc from 'fast-check';
import { expect, test } from 'vitest';
import { FLAT_NETWORK } from '../../api/names.ts';
import { emptyNodeConfig, type ServiceItem, type StreamEvent } from '../../api/nodeconfig.ts';
import { applyEvent } from '../../core/node-config/compile.ts';
import { Wanted } from './wanted.ts';

// What a change of a Service does not concern stays as it was: only the networks that `concernedBy` names are planned again.

const NETWORKS = ['a/x', 'b/x', 'c/x'] as const;
const KEYS = ['s/1', 's/2', 's/3'] as const;
const service = (key: string, network: string): ServiceItem => ({
  namespace: 's',
  name: key.slice(2),
  network,
  clusterIPs: ['10.96.0.7'],
  internalTrafficPolicy: 'Cluster',
  exposed: false,
  ports: [],
});
const serviceEvent = fc
  .record({ key: fc.constantFrom(...KEYS), network: fc.option(fc.constantFrom(...NETWORKS, FLAT_NETWORK)) })
  .map(
    ({ key, network }): StreamEvent =>
      network === null
        ? { type: 'delete', kind: 'service', key }
        : { type: 'upsert', kind: 'service', key, value: service(key, network) },
  );
const networkEvent = fc.record({ key: fc.constantFrom(...NETWORKS), allow: fc.subarray([...KEYS]) }).map(
  ({ key, allow }): StreamEvent => ({
    type: 'upsert',
    kind: 'network',
    key,
    value: { key, vni: NETWORKS.indexOf(key) + 2, egress: 'None', allow },
  }),
);
const peerEvent = fc
  .record({
    network: fc.constantFrom(...NETWORKS),
    other: fc.constantFrom(...NETWORKS, FLAT_NETWORK),
    services: fc.option(fc.subarray([...KEYS])),
  })
  .map(({ network, other, services }): StreamEvent => {
    const key = `${network}|${other}`;
    if (services === null) return { type: 'delete', kind: 'peer', key };
    return { type: 'upsert', kind: 'peer', key, value: { network, other, parts: [], services } };
  });

test('a change of a Service changes the plans of the networks that it concerns, and of no other', () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(serviceEvent, networkEvent, peerEvent), { maxLength: 30 }), (events) => {
      const config = emptyNodeConfig();
      const self = { name: 'n1', underlay: '192.0.2.11', addresses: ['192.0.2.11'], podCIDRs: ['10.244.1.0/24'] };
      config.node.set('n1', self);
      const wanted = new Wanted(config, 'n1');
      /** Services of each network with what their plans depend on. */
      const plans = (): Map<string, Map<string, readonly unknown[]>> =>
        new Map(
          [...config.network].map(([key, network]) => [
            key,
            new Map(
              [...wanted.instance(network, self, 1450, [])].flatMap(([owner, { deps }]) =>
                owner.startsWith('service ') ? [[owner, deps] as const] : [],
              ),
            ),
          ]),
        );
      for (const event of events) {
        const before = plans();
        applyEvent(config, event);
        if (event.type !== 'upsert' && event.type !== 'delete') continue;
        wanted.touched(event);
        if (event.kind !== 'service') continue;
        const concerned = wanted.concernedBy(event.key, event.type === 'upsert' ? event.value : undefined);
        for (const [key, after] of plans()) {
          if (concerned.has(key)) continue;
          const was = before.get(key) ?? new Map<string, readonly unknown[]>();
          expect([...after.keys()]).toEqual([...was.keys()]);
          for (const [owner, deps] of after) expect(deps.every((d, i) => d === was.get(owner)?.[i])).toBe(true);
        }
      }
    }),
    { numRuns: 200 },
  );
});
