import type { TestLab } from './lab.ts';

/** The condition BulkheadReady of a node: status, reason and message. */
export const readyOf = (lab: TestLab, node: string): Promise<string> =>
  lab.kubectl(
    'get',
    'node',
    node,
    '-o',
    'jsonpath={range .status.conditions[?(@.type=="BulkheadReady")]}{.status} {.reason} {.message}{end}',
  );

/** Asks until the condition is as it should be, or patience is at its end. */
export const readyWhen = (lab: TestLab, node: string, holds: (text: string) => boolean): Promise<string> =>
  lab.eventually(() => readyOf(lab, node), holds, 40_000);

/**
 * What is wrong between the pods of two names in the namespaces "flat" and "iso": they reach each other in both families and both
 * ways, and never across.
 */
export async function disconnected(lab: TestLab, a: string, b: string): Promise<string[]> {
  const wrong: string[] = [];
  for (const ns of ['flat', 'iso'])
    for (const [from, to] of [
      [a, b],
      [b, a],
    ])
      for (const f of [4, 6] as const) {
        const got = await lab.connect(`${ns}/${from}`, await lab.ip(`${ns}/${to}`, f), 8080);
        if (got !== `open:${ns}/${to}`) wrong.push(`${ns}/${from} → ${to} IPv${f}: ${got}`);
        if (ns !== 'flat') continue;
        const across = await lab.connect(`flat/${from}`, await lab.ip(`iso/${to}`, f), 8080);
        if (across.startsWith('open')) wrong.push(`flat/${from} → iso/${to} IPv${f}: ${across}`);
      }
  return wrong;
}

/** As {@link disconnected}, when it has settled. */
export const soonConnected = (lab: TestLab, a: string, b: string): Promise<string[]> =>
  lab.eventually(
    () => disconnected(lab, a, b),
    (wrong) => wrong.length === 0,
    40_000,
  );
