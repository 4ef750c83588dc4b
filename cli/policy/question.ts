import { VXLAN_PORT } from '../../api/names.ts';
import type { Asked, AskedPort, AskedWay, AskOptions } from '../../core/decide/ends.ts';
import { namesAddress } from '../../core/decide/end-text.ts';
import { type Explanation, explain, explainPorts, type PortVerdict } from '../../core/decide/explain.ts';
import { type View, viewOf } from '../../core/view/view.ts';
import { chooseTarget } from '../target/choose.ts';
import { loadState } from '../cluster/state.ts';
import { type InputFlags, isOffline, loadInput } from './load.ts';

/** What is asked, and hosts outside that are known: manifests, or a cluster. */
export async function loadQuestion(
  flags: InputFlags,
  ends: readonly string[] = [],
): Promise<{ readonly view: View; readonly outside: NonNullable<AskOptions['outside']> }> {
  if (isOffline(flags)) return { view: (await loadInput(flags)).view, outside: [] };
  await using target = chooseTarget(flags);
  return { view: viewOf(await loadState(target, { nodeAddresses: ends.some(namesAddress) })), outside: target.outside };
}

/** The answer for one family: to the ports that were asked about, or to every port. */
export type FamilyAnswer = {
  readonly family: 4 | 6;
  readonly address: string;
  readonly verdict: 'Accept' | 'Deny';
  /** One for each port that was asked about; for every port one that has the verdict. */
  readonly explanations: readonly Explanation[];
  /** Only when every port was asked about. */
  readonly ports?: readonly PortVerdict[];
};

export function answersOf(view: View, { ways, protocol }: Asked): FamilyAnswer[] {
  return ways.map((way) => (way.ports ? atPorts(view, way, way.ports) : atEveryPort(view, way, protocol)));
}

function atPorts(view: View, { family, from, address }: AskedWay, ports: readonly AskedPort[]): FamilyAnswer {
  const explanations = ports.map((p) => explain(view, from, { address, ...p }));
  const verdict = explanations.every((e) => e.verdict === 'Accept') ? 'Accept' : 'Deny';
  return { family, address, verdict, explanations };
}

function atEveryPort(view: View, { family, from, address }: AskedWay, protocol: Asked['protocol']): FamilyAnswer {
  const ports = explainPorts(view, from, address).filter((p) => protocol === undefined || p.protocol === protocol);
  const counted = portsThatCount(ports);
  const verdict = counted.every((p) => p.verdict === 'Accept') ? 'Accept' : 'Deny';
  const same = counted.filter((p) => p.verdict === verdict);
  const one = same.find((p) => p.protocol !== 'ICMP') ?? same[0];
  const to = one && one.protocol !== 'ICMP' ? { port: one.first, protocol: one.protocol } : PING;
  return { family, address, verdict, explanations: [explain(view, from, { address, ...to })], ports };
}

/** All but the port of the overlay, which is closed to every pod: alone it makes no "no" of an answer about every port. */
export function portsThatCount(ports: readonly PortVerdict[]): readonly PortVerdict[] {
  const others = ports.filter((p) => !(p.protocol === 'UDP' && p.first === VXLAN_PORT && p.last === VXLAN_PORT));
  return others.length > 0 ? others : ports;
}

const PING: AskedPort = { port: 0, protocol: 'ICMP' };
