import { Command, Option } from 'commander';
import { END_FORMS, namesAddress } from '../../core/decide/end-text.ts';
import { type Asked, askAbout } from '../../core/decide/ends.ts';
import type { Target } from '../../core/decide/decision.ts';
import type { Trace } from '../../core/decide/trace.ts';
import { traceFrom } from '../../core/decide/trace-from.ts';
import { viewOf } from '../../core/view/view.ts';
import { chooseTarget, type TargetFlags, targetOptions } from '../target/choose.ts';
import { familiesOf } from '../terminal/ip-family.ts';
import { EXIT } from '../terminal/exit-codes.ts';
import { format, paint, print, printData, tableText } from '../terminal/output.ts';
import { loadState } from './state.ts';

type Flags = TargetFlags & { output: string; namespace?: string; ipFamily: string };
type FamilyTrace = Trace & { readonly family: 4 | 6; readonly to: Target };

/** `bulkhead trace FROM TO`. */
export function traceCommand(exit: (code: number) => void): Command {
  return targetOptions(new Command('trace'))
    .description('follow a packet: where it goes, and what decides')
    .argument('<from>', 'the client')
    .argument('<to>', 'the server; without a port: the first port of the pod or Service, or ICMP')
    .option('-n, --namespace <name>', 'namespace of names without one')
    .addOption(
      new Option('--ip-family <family>', 'ipv4, ipv6 or dual: both families, where both ends have both').default(
        'dual',
      ),
    )
    .addOption(new Option('-o, --output <format>', 'text, json or yaml').default('text'))
    .addHelpText('after', `\nFROM and TO: ${END_FORMS}.`)
    .action(async (fromText: string, toText: string, flags: Flags) => {
      const { output, namespace, ipFamily } = flags;
      const shape = format(output);
      const families = familiesOf(ipFamily);
      await using target = chooseTarget(flags);
      const view = viewOf(await loadState(target, { nodeAddresses: [fromText, toText].some(namesAddress) }));
      const asked = askAbout(view, fromText, toText, {
        outside: target.outside,
        families,
        ...(namespace === undefined ? {} : { namespace }),
      });
      const traces = asked.ways.map(({ family, from, address, ports }): FamilyTrace => {
        const to = { address, ...(ports?.[0] ?? asked.first) };
        return { family, to, ...traceFrom(view, from, to) };
      });
      if (shape === 'text') show(asked, traces);
      else printData(shape, data(asked, traces));
      exit(traces.every((t) => t.verdict === 'open') ? EXIT.yes : EXIT.no);
    });
}

/** The first fields are those of the family that is stopped, if any is. */
function data({ from, to, ways, notes }: Asked, traces: readonly FamilyTrace[]): object {
  const shown = traces.find((t) => t.verdict !== 'open') ?? traces[0];
  const [way] = ways;
  const pod = way?.from.kind === 'Pod' ? way.from.pod : undefined;
  return {
    from: pod ? { namespace: pod.namespace, pod: pod.name, node: pod.node } : { name: from },
    to: shown?.to,
    verdict: shown?.verdict,
    why: shown?.why,
    steps: shown?.steps,
    asked: { from, to },
    notes,
    families: traces.map(({ family, ...rest }) => ({ family: `IPv${family}`, ...rest })),
  };
}

function show({ notes }: Asked, traces: readonly FamilyTrace[]): void {
  for (const note of notes) print(paint('dim', note));
  const groups = [...Map.groupBy(traces, shapeOf).values()];
  for (const [i, group] of groups.entries()) {
    const [one] = group;
    if (!one) continue;
    const families = group.map((t) => `IPv${t.family}`).join(' and ');
    if (i > 0) print('');
    if (groups.length > 1) print(`${families}:`);
    print(tableText(one.steps.map((s, n) => [`${n + 1}.`, s.where, s.what, paint('dim', `(${s.by})`)])));
    print(`\n${paint(one.verdict === 'open' ? 'green' : 'red', one.verdict)}: ${one.why} (${families})`);
  }
}

/** Traces that differ in their addresses only are shown once. */
const shapeOf = ({ verdict, steps }: FamilyTrace): string =>
  JSON.stringify([verdict, steps.map(({ where, what, by }) => [where, withoutAddresses(what), by])]);

const withoutAddresses = (text: string): string =>
  text.replaceAll(/\[?[0-9a-f]*:[0-9a-f:.]*:[0-9a-f:.]*\]?(:\d+)?|\d+\.\d+\.\d+\.\d+(:\d+)?/g, '#');
