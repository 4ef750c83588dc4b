import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { NETWORK_STATUS, NETWORKS } from '../../api/names.ts';
import { exampleNetwork, examplePod, exampleState } from '../cluster/example.ts';
import { viewOf } from '../view/view.ts';
import { readDefinition } from '../read/definition.ts';
import { parseInterfaces } from '../read/interfaces.ts';
import { networkStatus, readNetworkStatus } from './status.ts';

const parse = (text: string) => parseInterfaces({ [NETWORKS]: text }, 'own');
const short = (text: string): string[] =>
  parse(text).interfaces.map((i) => `${i.namespace}/${i.name}@${i.ifname} ${[...i.ips, i.mac ?? ''].join(' ')}`.trim());

describe('k8s.v1.cni.cncf.io/networks', () => {
  test.each([
    ['', []],
    ['blue', ['own/blue@net1']],
    [' blue , other/red@green0,blue ', ['own/blue@net1', 'other/red@green0', 'own/blue@net3']],
    ['[]', []],
    ['[{"name":"blue"},{"name":"red","namespace":"other","interface":"x"}]', ['own/blue@net1', 'other/red@x']],
    [
      '[{"name":"blue","ips":["10.0.0.5/24","fd00::5"],"mac":"02-AB-00-00-00-01","cni-args":{"a":1}}]',
      ['own/blue@net1 10.0.0.5 fd00::5 02:ab:00:00:00:01'],
    ],
    // What a program in Go writes for fields that it never set.
    [
      '[{"name":"blue","namespace":"","interface":"","ips":null,"mac":"","default-route":[],"bandwidth":null,"portMappings":[],"infiniband-guid":""}]',
      ['own/blue@net1'],
    ],
    ['[{"name":"blue","namespace":null,"interface":null,"ips":[],"mac":null,"default-route":null}]', ['own/blue@net1']],
  ])('%s', (text, expected) => {
    expect(short(text)).toEqual(expected);
    expect(parse(text).problems).toEqual([]);
  });

  test.each([
    ['[{', /is no JSON/],
    ['{"name":"a"}', /must be a list of objects/],
    ['Up_per', /no name of a network/],
    ['a@eth0', /"eth0" cannot be the name of an extra interface/],
    ['a@this-is-far-too-long', /cannot be the name/],
    ['a@net2,b', /interface net2 is asked for twice/],
    ['[{"name":"a","ips":["10.0.0.1","10.0.0.2"]}]', /second IPv4 address/],
    ['[{"name":"a","ips":"10.0.0.1"}]', /ips must be a list/],
    ['[{"name":"a","mac":"x"}]', /mac is no unicast/],
    ['[{"name":"a","default-route":["10.0.0.1"]}]', /default-route is not supported/],
    ['[{"name":7}]', /name must be text/],
    ['a,,b', /entry 2: "" is no name/],
  ])('%s: refused', (text, why) => {
    expect(parse(text).problems.join('; ')).toMatch(why);
    expect(parse(text).problems.every((p) => p.includes(NETWORKS))).toBe(true);
  });

  test('any text and any JSON is survived', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.json(),
          fc.json().map((j) => `[${j}]`),
        ),
        (text) => void parse(text),
      ),
      { numRuns: 2_000 },
    );
    fc.assert(
      fc.property(
        fc.oneof(fc.string(), fc.json()),
        (text) => void readNetworkStatus({ annotations: { [NETWORK_STATUS]: text } }),
      ),
      { numRuns: 2_000 },
    );
    fc.assert(
      fc.property(
        fc.oneof(fc.string(), fc.json()),
        (config) => void readDefinition({ metadata: { name: 'x' }, spec: { config } }),
      ),
      { numRuns: 2_000 },
    );
  });
});

describe('interfaces of a pod', () => {
  const networks = new Map([
    ['a/default', exampleNetwork('a', 'default', 2)],
    ['a/blue', exampleNetwork('a', 'blue', 5, { subnets: ['10.20.0.0/24'] })],
    ['b/red', exampleNetwork('b', 'red', 6, { subnets: ['10.30.0.0/24'] })],
  ]);
  const definition = (name: string, config: object) =>
    readDefinition({ metadata: { namespace: 'a', name }, spec: { config: JSON.stringify(config) } });
  const definitions = new Map([
    ['a/ours', definition('ours', { type: 'bulkhead', network: 'blue' })],
    ['a/list', definition('list', { plugins: [{ type: 'bulkhead', network: 'a/blue' }, { type: 'tuning' }] })],
    ['a/macvlan', definition('macvlan', { type: 'macvlan' })],
  ]);
  const planOf = (text: string, more: object = {}) => {
    const pod = { ...examplePod('a', 'p', 1, 5, { [NETWORKS]: text }), ips: [] };
    return viewOf(exampleState({ networks, definitions, pods: new Map([['a/p', pod]]), ...more })).plans.get('a/p');
  };
  const said = (text: string, more: object = {}): string => JSON.stringify(planOf(text, more)?.first.assignment);

  test.each([
    ['blue', 'a/blue'],
    ['ours', 'a/blue'],
    ['list', 'a/blue'],
  ])('%s leads to %s', (text, network) => {
    expect(planOf(text)?.others.map((o) => o.assignment)).toEqual([{ network }]);
    expect(said(text)).toBe('{"network":"a/default"}');
  });

  test.each([
    ['nowhere', /NetworkNotFound.*a\/nowhere does not exist/],
    ['b/red', /NetworkNotShared/],
    ['default', /UnsupportedNetwork.*has no spec\.subnets/],
    ['macvlan', /ForeignNetwork.*plugin macvlan.*install Multus/],
    ['[{"name":"blue","ips":["10.20.0.0"]}]', /AddressUnavailable/],
    ['a@b@c d', /InvalidAnnotation/],
    [
      '[{"name":"blue","ips":["10.20.0.5"]},{"name":"blue","ips":["10.20.0.5"]}]',
      /InvalidAnnotation.*address 10\.20\.0\.5 is asked for by two of its interfaces/,
    ],
  ])('%s: the pod waits and is told why', (text, why) => {
    expect(said(text)).toMatch(why);
  });

  test('where Multus is, other plugins are none of our business', () => {
    const multus = { multus: new Set(['n1']) };
    expect(said('macvlan,blue', multus)).toBe('{"network":"a/default"}');
    expect(planOf('macvlan,blue', multus)?.others.map((o) => o.ifname)).toEqual(['net2']);
  });

  test('what a pod has is told in the order of its annotation', () => {
    const one = (ifname: string, extra: boolean) => ({ ifname, network: 'a/x', ips: [], mac: '', extra });
    const text = networkStatus([one('a', true), one('b', true), one('eth0', false)], ['b', 'a']);
    expect((JSON.parse(text) as { interface: string }[]).map((i) => i.interface)).toEqual(['eth0', 'b', 'a']);
  });

  test('what a pod has is told as Multus tells it, and read back', () => {
    const extra = { ifname: 'net1', network: 'a/blue', ips: ['10.20.0.5'], mac: '02:00:00:00:00:01' };
    const text = networkStatus(
      [
        { ...extra, extra: true },
        { ifname: 'eth0', network: 'a/default', ips: ['10.244.1.5'], mac: '02:00:00:00:00:02', extra: false },
      ],
      ['net1'],
    );
    expect(
      (JSON.parse(text) as { interface: string; default: boolean }[]).map((i) => [i.interface, i.default]),
    ).toEqual([
      ['eth0', true],
      ['net1', false],
    ]);
    expect(readNetworkStatus({ annotations: { [NETWORK_STATUS]: text } })).toEqual([extra]);
  });
});
