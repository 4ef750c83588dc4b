import fc from 'fast-check';
import { expect, test } from 'vitest';
import { startAgent } from '../../lab/world/lab.ts';
import { netPath } from '../../lab/world/plan.ts';
import { HOST_PORT, namespaceOf, NODE, onHost, withHostPort } from './host-port-pods.ts';
import { useLab } from './lab.ts';
import { UdpCaller } from './udp-caller.ts';

// A host port goes from owner to owner in any order, agents end and start, and clients outside never stop sending from one source port:
// after each step the present owner answers all of them, and while there is none nobody does.

const lab = useLab('owners', { nodes: 2 });
const RUNS = Number(process.env['RANDOM_RUNS'] ?? 3);

const step = fc.constantFrom('flat', 'iso', 'iso', 'host', 'none', 'crash') satisfies fc.Arbitrary<string>;

test('the answerer is the present owner or nobody', async () => {
  await lab.apply([namespaceOf('flat', false), namespaceOf('iso', true)].join('\n---\n'));
  const outside = netPath(lab.name, 'outside');
  using callers = new Callers(outside);
  let owner: string | undefined;
  const take = async (): Promise<void> => {
    if (owner === undefined) return;
    const [ns = '', name = ''] = owner.split('/');
    await lab.kubectl('delete', 'pod', '-n', ns, name);
    owner = undefined;
  };
  await fc.assert(
    fc
      .asyncProperty(fc.array(step, { minLength: 4, maxLength: 9 }), async (steps) => {
        for (const s of steps) {
          if (s === 'crash') {
            await lab.kill('agent-n1');
            startAgent(lab.spec, 'n1');
          } else {
            await take();
            if (s !== 'none') {
              // The same name each time: a pod is its uid.
              const ns = s === 'host' ? 'flat' : s;
              await lab.apply(s === 'host' ? onHost(ns, 'same') : withHostPort(ns, 'same'));
              owner = `${ns}/same`;
            }
          }
          expect([s, await callers.answered(owner)]).toEqual([s, callers.all(owner)]);
        }
      })
      .afterEach(take),
    { numRuns: RUNS, endOnFailure: true },
  );
});

class Callers implements Disposable {
  readonly #all: readonly UdpCaller[];

  constructor(netns: string) {
    this.#all = ([4, 6] as const).flatMap((f) =>
      [45_000, 45_001].map((source) => new UdpCaller(netns, NODE[f], HOST_PORT, source)),
    );
  }

  /** What it should be: of each caller, everybody who answers it. */
  all(owner: string | undefined): string[][] {
    return this.#all.map(() => (owner === undefined ? [] : [owner]));
  }

  /** What it is: once the owner has answered, or nobody does any more, nothing else may come. */
  async answered(owner: string | undefined): Promise<string[][]> {
    const wanted = JSON.stringify(this.all(owner));
    for (let round = 0; ; round++) {
      const got = await Promise.all(this.#all.map((c) => c.answerers(400)));
      if (JSON.stringify(got) === wanted || round === 15) return got;
    }
  }

  [Symbol.dispose](): void {
    for (const c of this.#all) c.end();
  }
}
