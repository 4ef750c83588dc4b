import { Command, Option } from 'commander';
import { podAt, type View, viewOf } from '../../core/view/view.ts';
import { keyOf } from '../../core/cluster/state.ts';
import { chooseTarget, type TargetFlags, targetOptions } from '../target/choose.ts';
import { loadState } from '../cluster/state.ts';
import { format, paint, print, yamlText } from '../terminal/output.ts';
import type { ClusterTarget } from '../target/target.ts';
import { byTime } from './by-time.ts';

type Flags = TargetFlags & { output: string; follow?: boolean; namespace?: string };

/** What agents write down of a connection: see `denials.ts` and `denied-flows.ts` of the data plane. */
type Record = {
  readonly time: number;
  readonly network: string;
  readonly protocol: string;
  readonly source: string;
  readonly sourcePort: number;
  readonly destination: string;
  readonly port: number;
  readonly pod: string;
  readonly direction: string;
  readonly tier?: string;
  readonly policy?: string;
  readonly rule?: string;
  readonly revision?: number;
};

/** `bulkhead drops`: packets that policies dropped. */
export const dropsCommand = (): Command =>
  recordsCommand(
    'drops',
    'list packets that policies dropped (a sample for each rule), with the rule',
    'dropped by policy',
  );

/** `bulkhead revocations`: connections that a change of policies has cut. */
export const revocationsCommand = (): Command =>
  recordsCommand('revocations', 'list connections that a change of policies cut, with the rule', 'connection revoked');

function recordsCommand(name: string, description: string, message: string): Command {
  return targetOptions(new Command(name))
    .description(description)
    .option('-f, --follow', 'go on and print new ones')
    .option('-n, --namespace <name>', 'only connections that a pod of this namespace takes part in')
    .addOption(new Option('-o, --output <format>', 'text, json (one object a line) or yaml').default('text'))
    .action(async ({ output, follow = false, namespace, ...flags }: Flags) => {
      const shape = format(output);
      await using target = chooseTarget(flags);
      let view = viewOf(await loadState(target));
      let read = performance.now();
      for await (const record of byTime(recordsOf(target, message, follow), follow ? OVERTAKING_MS : undefined)) {
        // Pods come and go while the command follows.
        if (follow && performance.now() - read > 5_000) {
          view = viewOf(await loadState(target));
          read = performance.now();
        }
        const ends = { from: nameOf(view, record.source), to: nameOf(view, record.destination) };
        if (
          namespace !== undefined &&
          !Object.values({ ...ends, pod: record.pod }).some((n) => n.startsWith(`${namespace}/`))
        )
          continue;
        if (shape === 'text') print(describe(record, ends));
        else {
          const data = {
            time: new Date(record.time).toISOString(),
            ...ends,
            ...accountsOf(view, record),
            ...withoutLog(record),
          };
          if (shape === 'json') print(JSON.stringify(data));
          else print(`---\n${yamlText(data).trimEnd()}`);
        }
      }
    });
}

/** How long a line of one node may come after a younger line of another. */
const OVERTAKING_MS = 500;

/** What the agents of all nodes have written down, as the lines come. */
async function* recordsOf(target: ClusterTarget, message: string, follow: boolean): AsyncGenerator<Record> {
  for await (const line of target.agentLogs({ follow })) {
    if (!line.includes(`"msg":"${message}"`)) continue;
    const record = readRecord(line);
    if (record) yield record;
  }
}

function readRecord(line: string): Record | undefined {
  try {
    return JSON.parse(line.slice(line.indexOf('{'))) as Record;
  } catch {
    return undefined; // cut off when the file was rotated
  }
}

/** Without what belongs to the log and not to the record. */
function withoutLog(record: Record): object {
  const { time: _, ...rest } = record;
  return Object.fromEntries(
    Object.entries(rest).filter(([k]) => !['level', 'pid', 'hostname', 'name', 'msg'].includes(k)),
  );
}

const nameOf = (view: View, ip: string): string => {
  const pod = podAt(view, ip);
  return pod ? keyOf(pod) : ip;
};

/** Under which identities the ends run, where they are pods. */
function accountsOf(view: View, { source, destination }: Record): object {
  const from = podAt(view, source)?.serviceAccount;
  const to = podAt(view, destination)?.serviceAccount;
  return {
    ...(from === undefined ? {} : { fromServiceAccount: from }),
    ...(to === undefined ? {} : { toServiceAccount: to }),
  };
}

function describe(r: Record, { from, to }: { readonly from: string; readonly to: string }): string {
  const time = new Date(r.time).toISOString().slice(11, 23);
  const rule = r.rule ? `${r.policy}, rule ${r.rule} (${r.tier})` : `${r.policy}: no rule accepts it`;
  const target = r.port === 0 ? r.protocol : `${r.protocol} ${r.port}`;
  return `${paint('dim', time)}  ${from} → ${to}  ${target}  ${paint('dim', r.direction)} of ${r.pod}: ${rule}`;
}
