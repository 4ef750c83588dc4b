import { UsageError } from './output.ts';

/** The value of --ip-family as families. */
export function familiesOf(text: string): readonly (4 | 6)[] {
  const known: Readonly<Record<string, readonly (4 | 6)[]>> = { ipv4: [4], ipv6: [6], dual: [4, 6] };
  const families = known[text];
  if (families) return families;
  throw new UsageError(`--ip-family ${text}: write ipv4, ipv6 or dual`);
}
