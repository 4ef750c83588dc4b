import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { LINT_CODES } from '../../core/lint/codes.ts';
import { EXIT } from '../terminal/exit-codes.ts';
import { run } from '../program.ts';

let [printed, folder, file] = ['', '', ''];
beforeEach(() => {
  printed = '';
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    printed += String(text);
    return true;
  });
  vi.spyOn(process.stderr, 'write').mockImplementation(() => true);
  folder = mkdtempSync(join(tmpdir(), 'bulkhead-lint-'));
  file = join(folder, 'policies.yaml');
});
afterEach(() => {
  vi.restoreAllMocks();
  rmSync(folder, { recursive: true });
});

const POLICIES = `apiVersion: v1
kind: Pod
metadata: { name: web, namespace: shop, labels: { app: web } }
spec: { containers: [{ name: web }] }
---
# what follows is wrong in two ways
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: web, namespace: shop }
spec:
  podSelector: { matchLabels: { app: web } }
  policyTypes: [Ingress, Egress]
  ingress:
  - ports: [{ port: 80 }]
  - from:
    - podSelector: { matchLabels: { app: wbe } }
  egress:
  - to:
    - podSelector: {}
    ports: [{ port: 80 }]
`;

const lint = async (...words: string[]): Promise<number> => await run(['policy', 'lint', '-f', file, ...words]);

describe('policy lint', () => {
  test('text: file and line of the field, severity, code', async () => {
    writeFileSync(file, POLICIES);
    expect(await lint()).toBe(EXIT.no);
    expect(printed.split('\n').map((l) => l.replace(file, 'FILE').split('  ').slice(0, 2).join('  '))).toEqual([
      'FILE:14: info  OpenToTheWorld',
      'FILE:16: warning  MatchesNothing',
      'FILE:18: warning  NoDNS',
      '',
      expect.stringMatching(/^2 warnings, 1 info;/),
      '',
    ]);
  });

  test('infos alone are no mistake', async () => {
    writeFileSync(file, POLICIES);
    expect(await lint('--disable', 'NoDNS,MatchesNothing')).toBe(EXIT.yes);
    expect(printed).toContain('OpenToTheWorld');
    printed = '';
    expect(await lint('--disable', 'NoDNS, MatchesNothing', '--severity', 'warning')).toBe(EXIT.yes);
    expect(printed).toBe('nothing found\n');
  });

  test('only some codes', async () => {
    writeFileSync(file, POLICIES);
    expect(await lint('--only', 'NoDNS', '-o', 'json')).toBe(EXIT.no);
    expect(JSON.parse(printed)).toEqual({
      findings: [
        {
          code: 'NoDNS',
          severity: 'warning',
          policy: 'NetworkPolicy shop/web',
          path: 'spec.egress',
          message: 'lets no question to DNS out (UDP 53): names cannot be resolved',
          file,
          line: 18,
        },
      ],
    });
    expect(await lint('--only', 'NoSuchCode')).toBe(EXIT.usage);
    expect(await lint('--disable', 'nodns')).toBe(EXIT.usage);
  });

  test('SARIF has file and line', async () => {
    writeFileSync(file, POLICIES);
    expect(await lint('-o', 'sarif', '--only', 'MatchesNothing')).toBe(EXIT.no);
    const { runs } = JSON.parse(printed) as { runs: [{ results: object[] }] };
    expect(runs[0].results).toMatchObject([
      {
        ruleId: 'MatchesNothing',
        level: 'warning',
        locations: [{ physicalLocation: { region: { startLine: 16 } } }],
      },
    ]);
  });

  test('a policy of another kind: said, and no clean bill', async () => {
    writeFileSync(file, 'apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: { name: c, namespace: x }\n');
    expect(await lint()).toBe(EXIT.no);
    expect(printed).toContain('NotJudged');
  });

  test.each(Object.keys(LINT_CODES))('--explain %s needs no input', async (code) => {
    expect(await run(['policy', 'lint', '--explain', code])).toBe(EXIT.yes);
    expect(printed).toMatch(new RegExp(`^${code} \\(`));
    expect(printed).toMatch(/Example:[\s\S]*Better:/);
  });
});
