import { stringify } from 'yaml';
import { FLAT_NETWORK, VXLAN_PORT } from '../../api/names.ts';
import { keyOf } from '../../core/cluster/state.ts';
import { sourceNetwork } from '../../core/decide/by-networks.ts';
import type { Asked } from '../../core/decide/ends.ts';
import type { ExplainedPlace, Explanation, PortVerdict } from '../../core/decide/explain.ts';
import { remedyFor } from '../../core/decide/remedy.ts';
import type { End } from '../../core/policy/evaluate.ts';
import type { Direction } from '../../core/cluster/policy.ts';
import type { Step } from '../../core/policy/walk.ts';
import { isUnknownAddress } from '../../core/view/from-manifests.ts';
import type { View } from '../../core/view/view.ts';
import { paint, print } from '../terminal/output.ts';
import { type FamilyAnswer, portsThatCount } from './question.ts';

/** How an answer is shown: text that begins with the verdict, and data for programs. */

const ICMP = { protocol: 'ICMP', port: 0 } as const;

/** Everything, in the shape of `-o json`. The first fields are those of the answer that decides. */
export function answerData(view: View, asked: Asked, answers: readonly FamilyAnswer[]): object {
  const deciding = decidingOf(answers);
  return {
    verdict: deciding.answer.verdict,
    ...explanationData(view, deciding.explanation),
    asked: { from: asked.from, to: asked.to },
    notes: asked.notes,
    ...(deciding.answer.ports ? { ports: deciding.answer.ports } : {}),
    families: answers.map(({ family, address, verdict, explanations, ports }) => ({
      family: `IPv${family}`,
      ...(isUnknownAddress(address) ? {} : { address }),
      verdict,
      ...(ports ? { ports } : {}),
      answers: explanations.map((e) => ({ ...explanationData(view, e), port: e.to.port, protocol: e.to.protocol })),
    })),
  };
}

function explanationData(view: View, e: Explanation): object {
  const [place] = decidingPlaces(e);
  return {
    verdict: e.verdict,
    family: `IPv${e.family}`,
    from: endData(fromEnd(e)),
    to: endData(place?.flow.to ?? { ip: e.to.address, pod: undefined }),
    egress: place?.egress ?? [],
    ingress: place?.ingress ?? [],
    network: networkData(view, e),
    ...(e.decision.decidedBy === undefined ? {} : { decidedBy: e.decision.decidedBy }),
    places: e.places.map(({ flow, verdict, egress, ingress }) => ({
      to: endData(flow.to),
      port: flow.port,
      ...(flow.seenAs ? { seenAs: endData(flow.seenAs) } : {}),
      ...(flow.asSent ? { asSent: { to: endData(flow.asSent.to), port: flow.asSent.port } } : {}),
      verdict,
      egress,
      ingress,
    })),
  };
}

/** What networks say is the decision, unless policies have made another of it. */
function networkData(view: View, e: Explanation): object {
  const { decision } = e;
  const { networks: { verdict, why } = decision } = decision;
  return {
    verdict,
    why,
    from: networkName(networkOfSender(view, e)),
    to: networkName(networkOfReceiver(e)),
  };
}

const networkOfSender = (view: View, { from, to }: Explanation): string | undefined =>
  from.kind === 'Pod' ? sourceNetwork(view, from.pod, to.address) : undefined;

const networkOfReceiver = ({ decision: { destination } }: Explanation): string | undefined =>
  'network' in destination ? destination.network : undefined;

const networkName = (network: string | undefined): string =>
  network === undefined ? 'none' : network === FLAT_NETWORK ? 'default' : network;

const endData = ({ ip, pod }: End): object => ({
  ...(pod ? { namespace: pod.namespace, pod: pod.name, serviceAccount: pod.serviceAccount, node: pod.node } : {}),
  ...(isUnknownAddress(ip) ? {} : { ip }),
});

const fromEnd = ({ from, places }: Explanation): End => {
  if (from.kind === 'Pod') return { ip: places[0]?.flow.from.ip ?? from.pod.ips[0] ?? '', pod: from.pod };
  return { ip: places[0]?.flow.from.ip ?? (from.kind === 'Node' ? (from.ips[0] ?? '') : from.ip), pod: undefined };
};

/** The first answer that says no; else the first. */
function decidingOf(answers: readonly FamilyAnswer[]): { answer: FamilyAnswer; explanation: Explanation } {
  const answer = answers.find((a) => a.verdict === 'Deny') ?? answers[0];
  const explanation = answer?.explanations.find((e) => e.verdict === answer.verdict) ?? answer?.explanations[0];
  if (!answer || !explanation) throw new Error('a question has at least one answer');
  return { answer, explanation };
}

/** Places with the verdict of the whole: those that show why. */
const decidingPlaces = ({ places, verdict }: Explanation): ExplainedPlace[] => {
  const same = places.filter((p) => p.verdict === verdict);
  return same.length > 0 ? same : [...places];
};

/** Prints the answer: once, where both families and all ports have the same one. */
export function showAnswers(view: View, asked: Asked, answers: readonly FamilyAnswer[]): void {
  for (const note of asked.notes) print(paint('dim', note));
  const verdict = answers.every((a) => a.verdict === 'Accept') ? 'Accept' : 'Deny';
  const groups = [...Map.groupBy(answers, answerKey).values()];
  const ports = portsOf(answers);
  const families = (some: readonly FamilyAnswer[]): string => some.map((a) => `IPv${a.family}`).join(' and ');
  print(`${paintVerdict(verdict)} ${asked.from} → ${asked.to}, ${ports} (${families(answers)})`);
  if (groups.length > 1 && new Set(answers.map((a) => a.verdict)).size > 1) {
    print(`${paint('yellow', 'differs by family')}:`);
    for (const a of answers) print(`  ${paintVerdict(a.verdict)} IPv${a.family}`);
  }
  for (const group of groups) {
    const [answer] = group;
    if (!answer) continue;
    if (groups.length > 1) print(`\n${families(group)}:`);
    showAnswer(view, answer);
  }
}

/** Answers with one key are told once. Addresses differ by family; what is said of them does not. */
function answerKey({ verdict, ports, explanations }: FamilyAnswer): string {
  const what = explanations.map(({ to, verdict: v, decision, places }) => [
    to.port,
    v,
    decision.decidedBy,
    places.map((p) => [p.flow.to.pod?.uid, p.flow.port, p.verdict, p.egress, p.ingress]),
  ]);
  return JSON.stringify([verdict, ports, what]);
}

function portsOf(answers: readonly FamilyAnswer[]): string {
  const [first] = answers;
  if (!first || first.ports) {
    const protocols = new Set(first?.ports?.map((p) => p.protocol));
    const but = answers.some(
      ({ verdict, ports = [] }) => verdict === 'Accept' && ports.some((p) => p.verdict === 'Deny'),
    )
      ? ` but UDP ${VXLAN_PORT}, the port of the overlay`
      : '';
    return `${protocols.size === 1 ? `every port of ${[...protocols].join()}` : 'every port'}${but}`;
  }
  return first.explanations.map(({ to }) => describePort(to)).join(', ');
}

const describePort = ({ protocol, port }: Explanation['to']): string => (port === 0 ? protocol : `${protocol} ${port}`);

function showAnswer(view: View, { ports, explanations }: FamilyAnswer): void {
  const every = ports !== undefined && new Set(portsThatCount(ports).map((p) => p.verdict)).size === 1;
  if (ports && !every) {
    print(`${paint('yellow', 'differs by port')}:`);
    for (const p of ports) print(`  ${paintVerdict(p.verdict)} ${describePorts(p)}`);
    const [shown] = explanations;
    if (shown) print(`\n${describePort(shown.to)}:`);
  }
  const groups = [...Map.groupBy(explanations, explanationKey).values()];
  for (const group of groups) {
    const [one] = group;
    if (!one) continue;
    if (groups.length > 1) print(`${paintVerdict(one.verdict)} ${group.map(({ to }) => describePort(to)).join(', ')}:`);
    showExplanation(view, one, every);
  }
}

const explanationKey = ({ verdict, decision, places }: Explanation): string =>
  JSON.stringify([verdict, decision.why, places.map((p) => [p.flow.to.pod?.uid, p.verdict, p.egress, p.ingress])]);

const describePorts = ({ protocol, first, last }: PortVerdict): string =>
  protocol === 'ICMP'
    ? 'ICMP and every other protocol'
    : `${protocol} ${first === last ? first : first <= 1 && last === 65_535 ? 'all ports' : `${first}-${last}`}`;

const paintVerdict = (verdict: 'Accept' | 'Deny'): string =>
  paint(verdict === 'Accept' ? 'green' : 'red', verdict.padEnd(6));

/** @param every the answer is the same for every port */
function showExplanation(view: View, e: Explanation, every: boolean): void {
  const network = networkData(view, e) as { verdict: string; why: string };
  print(`  networks  ${network.verdict === 'open' ? 'open' : paint('red', network.verdict)}: ${network.why}`);
  const places = [...Map.groupBy(e.places, placeKey).values()];
  for (const group of places) {
    const [place] = group;
    if (!place) continue;
    if (e.decision.destination.kind !== 'Pod' && e.decision.destination.kind !== 'External') {
      const seen = place.flow.seenAs;
      const ends = group
        .filter(isKnown)
        .map(({ flow }) => `${name(flow.to)}${every || flow.port === 0 ? '' : ` port ${flow.port}`}`);
      if (ends.length > 0)
        print(`  behind it ${ends.join(', ')}${seen ? `, which sees the sender as ${name(seen)}` : ''}`);
    }
    showSide('egress', place.egress);
    showSide('ingress', place.ingress);
  }
  if (e.verdict === 'Deny') showRemedies(view, e, every);
}

/** Not an address of a Service of manifests, which stands for one that no manifest says. */
const isKnown = ({ flow: { to } }: ExplainedPlace): boolean => to.pod !== undefined || !isUnknownAddress(to.ip);

const placeKey = ({ flow, egress, ingress }: ExplainedPlace): string =>
  JSON.stringify([flow.seenAs?.ip, egress, ingress]);

const name = ({ ip, pod }: End): string => (pod ? `pod ${keyOf(pod)}` : ip);

function showRemedies(view: View, e: Explanation, every: boolean): void {
  const { decision, places } = e;
  const told = new Set<string>();
  for (const { flow: asked, egress, ingress } of places.filter(isKnown))
    for (const direction of ['egress', 'ingress'] as const) {
      const flow = every
        ? { ...asked, ...ICMP, ...(asked.asSent ? { asSent: { ...asked.asSent, port: 0 } } : {}) }
        : asked;
      const remedy = remedyFor(direction, flow, direction === 'egress' ? egress : ingress);
      const text = remedy && `\nTo admit it, ${remedy.what}:\n${stringify([remedy.rule], { indent: 2 }).trimEnd()}`;
      if (text === undefined || told.has(text)) continue;
      told.add(text);
      print(text);
    }
  if (decision.decidedBy !== 'egress gate' && decision.decidedBy !== 'ingress gate') return;
  const advice = gateAdvice(isNamed(networkOfSender(view, e)), isNamed(networkOfReceiver(e)));
  if (advice !== undefined) print(`\n${advice}`);
}

/** What opens a gate, by which ends are on a VirtualNetwork: only two of them can be connected by routers. */
function gateAdvice(sender: boolean, receiver: boolean): string | undefined {
  if (sender && receiver)
    return 'To connect the networks, both sides need a VirtualNetworkRouter that imports the other: docs/reference/networks.md.';
  if (receiver) return 'To open ports of a pod or Service in an isolated network: docs/how-to/open-ports.md.';
  return undefined;
}

const isNamed = (network: string | undefined): boolean => network !== undefined && network !== FLAT_NETWORK;

function showSide(direction: Direction, steps: readonly Step[]): void {
  for (const step of steps) {
    const tier = step.tier === 'Default' || step.tier === 'Node' ? '' : `${step.tier}: `;
    print(`  ${direction.padEnd(8)}  ${step.decides ? '▸' : ' '} ${tier}${describeStep(direction, step)}`);
  }
}

function describeStep(direction: Direction, { tier, policy, rule, action }: Step): string {
  if (tier === 'Default') return 'no policy says anything: accepted';
  if (tier !== 'Node') return rule === '' ? `${policy}: no rule accepts it` : `${policy}, rule ${rule}: ${action}`;
  return direction === 'ingress'
    ? 'a pod is always reached from its own node: accepted'
    : `a pod always reaches its own node, whatever ${policy} says: accepted`;
}
