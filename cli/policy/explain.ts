import { Command, Option } from 'commander';
import { stringify } from 'yaml';
import { isUnknownAddress } from '../../core/view/from-manifests.ts';
import { keyOf, type Pod } from '../../core/cluster/state.ts';
import { podAt, type View } from '../../core/view/view.ts';
import { type Explanation, explain, explainPorts, networkName, type PortVerdict } from '../../core/decide/explain.ts';
import type { End } from '../../core/policy/evaluate.ts';
import type { Direction } from '../../core/cluster/policy.ts';
import { remedyFor } from '../../core/decide/remedy.ts';
import type { Step } from '../../core/policy/walk.ts';
import { PROTOCOLS, type Protocol } from '../../api/nodeconfig.ts';
import { canonicalIp } from '../../lib/ip/address.ts';
import { type TargetFlags, targetOptions } from '../target/choose.ts';
import { podNamed } from '../cluster/names.ts';
import { type Format, format, paint, print, printJson, tableText, UsageError } from '../terminal/output.ts';
import { endOf } from './end.ts';
import { loadView, manifestsOption } from './load.ts';
import { matrix, matrixTable } from './matrix.ts';

type Flags = TargetFlags & { output: string; filename?: string[]; all?: boolean };

/** `bulkhead explain FROM TO`, `bulkhead explain --all`. Exit code 0 for Accept, 3 for Deny, 2 when it cannot be told. */
export function explainCommand(exit: (code: number) => void): Command {
  return targetOptions(new Command('explain'))
    .description('whether a connection would be let through, and which rule of which policy says so')
    .argument('[from]', 'namespace/pod')
    .argument('[to]', 'namespace/pod or an address; [:PORT[/PROTOCOL]], else all ports')
    .addOption(manifestsOption())
    .option('--all', 'every pod to every declared port of every pod')
    .addOption(new Option('-o, --output <format>', 'text, json or yaml').default('text'))
    .addHelpText('after', '\nExit codes: 0 Accept, 3 Deny, 2 error. With --all: 0, or 2 for an error.')
    .action(async (from: string | undefined, to: string | undefined, { output, filename, all, ...flags }: Flags) => {
      const shape = format(output);
      if (all ? from !== undefined : from === undefined || to === undefined)
        throw new UsageError('explain: write FROM and TO, or --all');
      const view = await loadView(filename, flags);
      if (all) {
        const pairs = matrix(view);
        if (shape === 'json') printJson({ pairs });
        else print(tableText(matrixTable(pairs)));
        return;
      }
      const source = podNamed(view, from ?? '');
      const { end, port, protocol } = parseEnd(view, source, to ?? '');
      if (port === undefined) return exit(showPorts(view, source, end, shape));
      const result = explain(view, source, end, protocol, port);
      if (shape === 'json') printJson(asJson(result));
      else showText(result);
      exit(result.verdict === 'Accept' ? 0 : 3);
    });
}

/** "ns/pod:80/tcp", "[2001:db8::1]:53/udp", "10.0.0.1" */
function parseEnd(
  view: View,
  from: Pod,
  text: string,
): { readonly end: End; readonly port: number | undefined; readonly protocol: Protocol | 'ICMP' } {
  const bare = text.includes(':') && canonicalIp(text) !== undefined ? `[${text}]` : text;
  const [, where = '', number, name] = /^(.*?|\[[^\]]+\])(?::(\d+)(?:\/(\w+))?)?$/.exec(bare) ?? [];
  const port = number === undefined ? undefined : Number(number);
  if (port !== undefined && (port < 1 || port > 65_535))
    throw new UsageError(`${text}: port ${port} is not from 1 to 65535`);
  const protocol = PROTOCOLS.find((p) => p === (name ?? 'tcp').toUpperCase());
  if (!protocol) throw new UsageError(`${text}: protocol ${name} is not tcp, udp or sctp`);
  const ip = canonicalIp(where.replace(/^\[|\]$/g, ''));
  if (ip !== undefined) return { end: { ip, pod: podAt(view, ip) }, port, protocol };
  return { end: endOf(from, podNamed(view, where)), port, protocol };
}

const asJson = ({ flow, verdict, egress, ingress, network }: Explanation): object => ({
  verdict,
  from: endJson(flow.from),
  to: endJson(flow.to),
  egress,
  ingress,
  network: { ...network, from: networkName(network.from), to: networkName(network.to) },
});

const endJson = ({ ip, pod }: End): object => ({
  ...(pod ? { namespace: pod.namespace, pod: pod.name, serviceAccount: pod.serviceAccount, node: pod.node } : {}),
  ...(isUnknownAddress(ip) ? {} : { ip }),
});

function showPorts(view: View, from: Pod, end: End, shape: Format): number {
  const ports = explainPorts(view, from, end);
  const accepted = ports.filter((p) => p.verdict === 'Accept');
  const verdict = accepted.length === ports.length ? 'Accept' : 'Deny';
  // The reasons are those of a port that has this verdict.
  const one =
    ports.find((p) => p.verdict === verdict && p.protocol !== 'ICMP') ?? ports.find((p) => p.verdict === verdict);
  const result = explain(view, from, end, one?.protocol ?? 'TCP', one?.first || 1);
  if (shape === 'json') printJson({ ...asJson(result), verdict, ports });
  else {
    if (accepted.length > 0 && verdict === 'Deny') {
      print(`${paint('yellow', 'differs by port')}:`);
      for (const p of ports) print(`  ${paintVerdict(p.verdict)}  ${describePorts(p)}`);
      print('');
    }
    const every = accepted.length === 0;
    showText(every ? { ...result, flow: { ...result.flow, protocol: 'ICMP', port: 0 } } : result, every);
  }
  return verdict === 'Accept' ? 0 : 3;
}

const describePorts = ({ protocol, first, last }: PortVerdict): string =>
  protocol === 'ICMP'
    ? 'ICMP and every other protocol'
    : `${protocol} ${first === last ? first : first === 0 && last === 65_535 ? 'all ports' : `${first}-${last}`}`;

const paintVerdict = (verdict: 'Accept' | 'Deny'): string =>
  paint(verdict === 'Accept' ? 'green' : 'red', verdict.padEnd(6));

/** @param every the answer is the same for every port */
function showText(result: Explanation, every = false): void {
  const { flow, network, verdict } = result;
  const name = ({ ip, pod }: End): string => (pod ? `pod ${keyOf(pod)}` : ip);
  const what = every ? 'every port' : `${flow.protocol}${flow.port === 0 ? '' : ` ${flow.port}`}`;
  print(`${paintVerdict(verdict)} ${name(flow.from)} → ${name(flow.to)}, ${what}`);
  print(`  networks  ${network.verdict === 'open' ? 'open' : paint('red', network.verdict)}: ${network.why}`);
  showSide('egress', result.egress);
  showSide('ingress', result.ingress);
  if (verdict === 'Accept') return;
  for (const direction of ['egress', 'ingress'] as const) {
    const remedy = remedyFor(direction, flow, result[direction]);
    if (!remedy) continue;
    print(`\nTo admit it, ${remedy.what}:`);
    print(stringify([remedy.rule], { indent: 2 }).trimEnd());
  }
  if (network.verdict !== 'open')
    print(
      '\nTo connect the networks, both sides need a VirtualNetworkRouter that imports the other: docs/reference/networks.md.',
    );
}

function showSide(direction: Direction, steps: readonly Step[]): void {
  if (steps.length === 0) return;
  for (const { tier, policy, rule, action, decides } of steps) {
    const what =
      tier === 'Default'
        ? 'no policy says anything: accepted'
        : tier === 'Node'
          ? 'a pod is always reached from its own node'
          : rule === ''
            ? `${policy}: no rule accepts it`
            : `${policy}, rule ${rule}: ${action}`;
    print(
      `  ${direction.padEnd(8)}  ${decides ? '▸' : ' '} ${tier === 'Default' || tier === 'Node' ? '' : `${tier}: `}${what}`,
    );
  }
}
