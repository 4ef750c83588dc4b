import { beforeAll, describe, expect, test } from 'vitest';
import { VXLAN_PORT } from '../../api/names.ts';
import { vtepMac } from '../../dataplane/plan/names.ts';
import { familyOf } from '../../lib/ip/address.ts';
import { families, nodeNames } from '../../lab/world/plan.ts';
import type { Outcome } from '../../lib/connect/connect.ts';
import { useLab } from '../system/lab.ts';
import {
  buildNodeWorld,
  type Expected,
  expectedOfHost,
  expectedOfPod,
  known,
  type LocalAddress,
  localAddresses,
  netnsOf,
  NODE_PORT,
  PORTS,
  reportedView,
  SENDERS,
  type Sender,
} from './node-world.ts';
import { ethernet, marker, PROTOCOL, udp, vxlan } from './packets.ts';
import { RawSocket, sendDatagram } from './raw-socket.ts';
import { LONG, sampled, SEED } from './sample.ts';

// Every address of every node × what may answer there × who asks, and the answer that the model gives. Then the same with VXLAN of every
// network inside, which nodes alone may speak.

describe.each(['dual', 'ipv6', 'ipv4'] as const)('%s', (stack) => {
  const lab = useLab(`addr-${stack}`, { nodes: 2, family: stack });
  const stacks = families(stack);
  /** Of the two ends of the overlay. */
  const underlay = (node: number): string => known(node, stacks[0] ?? 4);
  let addresses: LocalAddress[] = [];

  beforeAll(async () => {
    console.log(LONG ? 'all combinations' : `a sample of the combinations: ATTACKS_SEED=${SEED}`);
    await buildNodeWorld(lab);
    addresses = await localAddresses(lab);
  });

  describe('TCP, UDP and ICMP', () => {
    type Question = {
      readonly sender: Sender;
      readonly to: LocalAddress;
      readonly port: (typeof PORTS)[number];
    };

    async function ask(questions: readonly Question[]): Promise<Outcome['verdict'][]> {
      const attempts = await Promise.all(
        questions.map(async ({ sender, to, port }) => ({
          netns: await netnsIn(sender),
          address: to.address,
          ...port,
          timeoutMs: 1_500,
          identify: false,
        })),
      );
      return (await lab.connectMany(attempts)).map((o) => o.verdict);
    }

    /** Asks, and tells where packets and the model differ. */
    async function differences(questions: readonly Question[]) {
      const view = await reportedView(lab, addresses);
      const expected = ({ sender: { from }, to, port }: Question): Expected => {
        if (typeof from !== 'string') return expectedOfHost(view, to, port);
        const pod = view.state.pods.get(from);
        if (!pod) throw new Error(`no pod ${from}`);
        return expectedOfPod(view, pod, to, port);
      };
      const verdicts = await ask(questions);
      return questions.flatMap((question, i) => {
        const { open, why } = expected(question);
        const measured = verdicts[i];
        if ((measured === 'open') === open) return [];
        const { sender, to, port } = question;
        return [
          {
            question,
            text: `${sender.name} → ${to.address} (${to.dev} of ${to.node}) ${port.protocol} ${port.port}: ${measured}, expected ${open ? 'open' : 'not open'}: ${why}`,
          },
        ];
      });
    }

    test('what packets do is what the model says', async () => {
      const { nodes: _, ...senders } = SENDERS;
      // A loopback address is the sender's own.
      const nodes = addresses.filter((a) => !/^(127\.|::1$)/.test(a.address));
      const all = Object.values(senders)
        .flat()
        .flatMap((sender) => nodes.flatMap((to) => PORTS.map((port) => ({ sender, to, port }))));
      expect(all.length).toBeGreaterThan(2_000);
      let found = await differences(sampled(all, 2_000));
      // Agents tell of new addresses of their nodes with their next report, and a busy machine loses a packet.
      if (found.length > 0)
        found = await lab.eventually(
          () => differences(found.map((f) => f.question)),
          (left) => left.length === 0,
          30_000,
        );
      expect(found.map((f) => f.text)).toEqual([]);
    });

    test('each kind of sender has something open and something closed', async () => {
      const view = await reportedView(lab, addresses);
      const at = addresses.filter((a) => a.address === known(0, 4) || a.address === known(0, 6));
      for (const [kind, port, open] of [
        ['flat', NODE_PORT.b, true],
        ['flat', NODE_PORT.c, false],
        ['owner', NODE_PORT.b, true],
        ['owner', NODE_PORT.c, false],
        ['isolated', NODE_PORT.b, false],
        ['way', NODE_PORT.flat, false],
        ['outside', NODE_PORT.b, true],
        ['outside', NODE_PORT.c, true],
        ['external', NODE_PORT.c, true],
        ['external', NODE_PORT.b, false],
      ] as const) {
        const questions = SENDERS[kind].flatMap((sender) =>
          at.map((to) => ({ sender, to, port: { port, protocol: 'TCP' as const } })),
        );
        const wanted = questions.map(({ sender, to }) => [sender.name, to.address, port, open]);
        const verdicts = await lab.eventually(
          () => ask(questions),
          (v) => v.every((x) => (x === 'open') === open),
        );
        expect(questions.map(({ sender, to }, i) => [sender.name, to.address, port, verdicts[i] === 'open'])).toEqual(
          wanted,
        );
      }
      expect(view.state.nodes.size).toBe(2);
    });
  });

  describe('VXLAN', () => {
    type Forgery = {
      readonly sender: Sender;
      readonly address: string;
      /** Whose network's number the datagram has, and on which node its receiver is. */
      readonly victim: Victim;
      readonly family: 4 | 6;
      readonly sourcePort: number | undefined;
    };
    type Victim = { readonly namespace: string; readonly node: number; readonly vni: number };
    /** What every node answers to. */
    const EVERYBODY = ['255.255.255.255', '192.0.2.255', '224.0.0.1', 'ff02::1', '169.254.1.1', '169.254.1.2'];

    /** A datagram as from a pod of the victim's own network on the other node, inside VXLAN. */
    async function forge({ victim: { namespace, node, vni }, family }: Forgery) {
      const text = marker(`vni${vni}`);
      const frame = ethernet({
        to: vtepMac(underlay(node)),
        from: vtepMac(underlay(1 - node)),
        payload: udp({
          source: await ipOf(`${namespace}/p${2 - node}`, family),
          destination: await ipOf(`${namespace}/p${node + 1}`, family),
          sourcePort: 7_003,
          port: 5_353,
          payload: text,
        }),
      });
      return { text, datagram: vxlan(vni, frame) };
    }
    const describeForgery = ({ sender, address, victim, family, sourcePort }: Forgery): string =>
      `${sender.name} → ${address}${sourcePort === undefined ? '' : ` from port ${sourcePort}`}, VNI ${victim.vni}, to ${victim.namespace}/p${victim.node + 1} by IPv${family}`;

    /** Datagrams for the victim itself: not what it sends, and no ICMP error that quotes what it has sent. */
    const delivered = (f: Buffer): boolean =>
      (f[23] === PROTOCOL.UDP && f.readUInt16BE(36) === 5_353) ||
      (f[20] === PROTOCOL.UDP && f.length > 58 && f.readUInt16BE(56) === 5_353);

    /** Those that arrived, by the time that what `last` sends has. */
    async function arrived(
      { namespace, node }: Victim,
      forgeries: readonly Forgery[],
      last: Forgery,
    ): Promise<Forgery[]> {
      using ear = new RawSocket(await lab.netns(`${namespace}/p${node + 1}`), 'eth0');
      const sent: { readonly forgery: Forgery; readonly text: Buffer }[] = [];
      const frames: Buffer[] = [];
      const send = async (forgery: Forgery): Promise<Buffer> => {
        const { text, datagram } = await forge(forgery);
        const { sender, address, sourcePort: port = 0 } = forgery;
        const any = familyOf(address) === 4 ? '0.0.0.0' : '::';
        // A node speaks with the address of its end of the overlay, where the kernel might choose another of its own.
        const node = SENDERS.nodes.findIndex((n) => n.name === sender.name);
        const own = node >= 0 && familyOf(underlay(node)) === familyOf(address) ? underlay(node) : any;
        sendDatagram(await netnsIn(sender), { address, port: VXLAN_PORT }, datagram, { address: own, port });
        return text;
      };
      for (const forgery of forgeries) sent.push({ forgery, text: await send(forgery) });
      const end = await lab.eventually(
        async () => {
          const text = await send(last);
          await new Promise((resolve) => setTimeout(resolve, 50));
          frames.push(...ear.received().filter(delivered));
          return frames.some((f) => f.includes(text));
        },
        (seen) => seen,
      );
      expect([describeForgery(last), end]).toEqual([describeForgery(last), true]);
      frames.push(...ear.received().filter(delivered));
      return sent.filter(({ text }) => frames.some((f) => f.includes(text))).map(({ forgery }) => forgery);
    }

    test('of any number, by any address: from the other node to the underlay address alone', async () => {
      const { networks } = (await lab.view()).state;
      const numbers = new Map([
        ...['a', 'b', 'c', 'nat'].map((ns) => [ns, networks.get(`${ns}/default`)?.vni ?? 0] as const),
        ['flat', 1] as const,
      ]);
      const unused = [0, Math.max(...numbers.values()) + 1, 0xff_ff_ff];
      const { owner: _, external: __, ...senders } = SENDERS;
      for (const node of [0, 1]) {
        const own = addresses.filter((a) => a.node === nodeNames(2)[node]).map((a) => a.address);
        const other = SENDERS.nodes[1 - node];
        if (!other) throw new Error('two nodes');
        for (const [namespace, vni] of numbers) {
          const victims = (namespace === 'b' ? [vni, ...unused] : [vni]).map((n) => ({ namespace, node, vni: n }));
          const all: Forgery[] = victims.flatMap((victim) =>
            Object.values(senders)
              .flat()
              .flatMap((sender) =>
                [...own, ...EVERYBODY].flatMap((address) =>
                  stacks.flatMap((family) =>
                    [undefined, VXLAN_PORT].map((sourcePort) => ({ sender, address, victim, family, sourcePort })),
                  ),
                ),
              ),
          );
          const mayArrive = ({ sender, address, victim }: Forgery): boolean =>
            sender === other && address === underlay(node) && victim.vni === vni;
          const victim = { namespace, node, vni };
          const twins = all.filter((f) => mayArrive(f) && f.sourcePort === undefined);
          expect(twins.map((t) => t.family)).toEqual(stacks);
          const forgeries = sampled(
            all.filter((f) => !mayArrive(f)),
            250,
          );
          // The allowed twins, one of each family, and with them the end of the waiting.
          for (const [i, twin] of twins.entries()) {
            const half = forgeries.filter((_, k) => k % twins.length === i);
            expect((await arrived(victim, half, twin)).map(describeForgery)).toEqual([]);
          }
        }
      }
    });
  });

  // Asked once: the lab reads the whole cluster for each.
  const netnsIn = once((sender: Sender) => netnsOf(lab, sender));
  const ipOf = once((pod: string, family: 4 | 6) => lab.ip(pod, family));
});

function once<A extends unknown[], T>(ask: (...of: A) => Promise<T>): (...of: A) => Promise<T> {
  const known = new Map<string, Promise<T>>();
  return (...of) => {
    const key = JSON.stringify(of);
    const found = known.get(key) ?? ask(...of);
    known.set(key, found);
    return found;
  };
}
