import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { readManifests } from '../../../lib/manifests/read.ts';
import { Operations } from '../operations.ts';
import type { Json } from '../model/path.ts';
import { compile } from './expression.ts';
import { checkRules, readRules } from './rules.ts';
import { celValue, sameValue } from './values.ts';

const root = join(import.meta.dirname, '../../..');
const evaluate = (text: string, self: unknown): unknown =>
  compile(text, ['self'], 'any').evaluate({ self: celValue(self) });

describe('expressions', () => {
  test.each<[string, unknown, unknown]>([
    ['self.n + 1', { n: 2 }, 3n],
    ['self.f + 0.5', { f: 1.25 }, 1.75],
    ["self.?a.?b.orValue('none')", {}, 'none'],
    ["self[?'a'].hasValue()", { a: null }, true],
    ['has(self.gone)', { gone: undefined }, false],
    ['self.list.map(x, x * 2).sum()', { list: [1, 2] }, 6n],
    ['self.list.max() - self.list.min()', { list: [3, 9, 4] }, 6n],
    ['self.list.isSorted()', { list: ['a', 'b'] }, true],
    ["self.find('[0-9]+') + '/' + string(self.findAll('[0-9]').size())", 'a12b3', '12/3'],
    ["self.split(',').exists(x, x.trim() == 'b')", 'a, b', true],
    ["isCIDR('10.0.0.0/8') && !isCIDR('10.0.0.0/33') && isCIDR('fd00::/8') && !isCIDR('x')", 0, true],
    ["isIP('10.0.0.1') && isIP('::1') && !isIP('10.0.0')", 0, true],
    ["cidr('10.0.0.0/8').containsIP('10.1.2.3') && !cidr('10.0.0.0/8').containsIP(ip('fd00::1'))", 0, true],
    [
      "cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16') && !cidr('10.1.0.0/16').containsCIDR(cidr('10.0.0.0/8'))",
      0,
      true,
    ],
    ["cidr('10.1.2.3/8').prefixLength() == 8 && string(cidr('10.1.2.3/8').masked()) == '10.0.0.0/8'", 0, true],
    ["ip('fd00::1').family() == 6 && ip('127.0.0.1').isLoopback() && ip('8.8.8.8').isGlobalUnicast()", 0, true],
    ["ip('fd00:0::1') == ip('fd00::1')", 0, true],
    ["self.matches('^([a-z]+)$') ? 'yes' : 'no'", 'abc', 'yes'],
    ['self.nope == 1 || true', {}, true],
  ])('%s', (text, self, value) => {
    expect(evaluate(text, self)).toEqual(value);
  });

  test.each([
    ["ip('x')", /parse error/],
    ['self.nope', /No such key: nope/],
    ['self.toString', /No such key/],
    ['self.constructor', /No such key/],
    ['[].min()', /empty list/],
    ['self.list[5]', /out of bounds/],
  ])('%s is an error when it is evaluated', (text, message) => {
    expect(() => evaluate(text, { list: [1] })).toThrow(message);
  });

  test.each(['self.', 'nope(self)', 'other == 1', "authorizer.group('')", "quantity('1')", ''])(
    '%s is refused before',
    (text) => {
      expect(() => compile(text, ['self'], 'any')).toThrow(/compilation failed|an expression is required/);
    },
  );

  test('see every JSON value as it is', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), (a, b) => {
        expect(evaluate('self == self', a)).toBe(true);
        const same = compile('x == y', ['x', 'y'], 'bool').evaluate({ x: celValue(a), y: celValue(b) });
        expect(same).toBe(sameValue(a, b));
      }),
    );
  });
});

describe('rules of a schema', () => {
  const schema = {
    type: 'object',
    'x-kubernetes-validations': [
      { rule: 'self.min <= self.max', message: 'min is above max', fieldPath: '.min' },
      { rule: '!has(self.namespace) || self.__namespace__ == self.namespace' },
    ],
    properties: {
      min: { type: 'integer' },
      max: { type: 'integer' },
      namespace: { type: 'string' },
      fixed: { type: 'string', 'x-kubernetes-validations': [{ rule: 'self == oldSelf', message: 'never changes' }] },
      once: {
        type: 'string',
        'x-kubernetes-validations': [{ rule: '!oldSelf.hasValue() || oldSelf.value() == self', optionalOldSelf: true }],
      },
      items: {
        type: 'array',
        'x-kubernetes-list-type': 'map',
        'x-kubernetes-list-map-keys': ['name'],
        items: {
          type: 'object',
          properties: { name: { type: 'string' }, n: { type: 'integer' } },
          'x-kubernetes-validations': [
            { rule: 'self.n >= oldSelf.n', messageExpression: "self.name + ' shrinks to ' + string(self.n)" },
          ],
        },
      },
      map: {
        type: 'object',
        additionalProperties: { type: 'string', 'x-kubernetes-validations': [{ rule: "self != 'bad'" }] },
      },
    },
  };
  const { rules, problems } = readRules(schema, '');
  const check = (value: Json, before?: Json) => checkRules(rules, value, before).map((p) => `${p.field}: ${p.message}`);

  test('hold at every depth, and tell where they do not', () => {
    expect(problems).toEqual([]);
    expect(check({ min: 1, max: 2, namespace: 'x', map: { a: 'good' } })).toEqual([]);
    expect(check({ min: 3, max: 2, map: { a: 'good', b: 'bad' } })).toEqual([
      '.min: min is above max',
      "map.b: failed rule: self != 'bad'",
    ]);
  });

  test('of change ask what was there, and only when something was', () => {
    const base = { min: 1, max: 2 };
    expect(check({ ...base, fixed: 'a', once: 'a' })).toEqual([]);
    expect(check({ ...base, fixed: 'b', once: 'b' }, { ...base, fixed: 'a', once: 'a' })).toEqual([
      'fixed: never changes',
      'once: failed rule: !oldSelf.hasValue() || oldSelf.value() == self',
    ]);
    const items = (...ns: [string, number][]) => ({ ...base, items: ns.map(([name, n]) => ({ name, n })) });
    expect(check(items(['a', 1], ['b', 5]), items(['b', 4], ['a', 1]))).toEqual([]);
    expect(check(items(['new', 0], ['b', 3]), items(['b', 4]))).toEqual(['items[1]: b shrinks to 3']);
  });

  test('leave alone what was wrong before and is unchanged', () => {
    const wrong = { min: 3, max: 2, map: { a: 'bad' } };
    expect(check(wrong, wrong)).toEqual([]);
    expect(check({ ...wrong, map: { a: 'bad', b: 'bad' } }, wrong)).toEqual([
      '.min: min is above max',
      "map.b: failed rule: self != 'bad'",
    ]);
  });

  test('that cannot be evaluated refuse the value', () => {
    expect(check({ max: 2 })).toEqual([expect.stringMatching(/resulted in error: No such key: min/)]);
  });

  test('that cannot be compiled refuse the definition', () => {
    const bad = {
      type: 'object',
      properties: { a: { type: 'string', 'x-kubernetes-validations': [{ rule: 'selff == 1' }] } },
    };
    expect(readRules(bad, 'x').problems).toEqual([
      { field: 'x.properties[a].x-kubernetes-validations[0]', message: expect.stringContaining('selff') as string },
    ]);
  });

  test('of our kinds can all be compiled, and their examples all hold', () => {
    const ops = new Operations({ serviceCIDRs: ['10.96.0.0/16'], families: [4] });
    const crds = readManifests(join(root, 'manifests/crds'));
    for (const crd of crds) ops.create(ops.resources.kind('CustomResourceDefinition'), undefined, crd);
    for (const name of readdirSync(join(root, 'examples'))) {
      const objects = readManifests(join(root, 'examples', name));
      for (const o of objects) {
        const type = ops.resources.byKind(String(o['kind']));
        if (type?.rules === undefined) continue;
        const { namespace = 'default' } = o['metadata'] as { namespace?: string };
        if (type.namespaced && !ops.store.get(ops.resources.kind('Namespace', ''), undefined, namespace))
          ops.create(ops.resources.kind('Namespace', ''), undefined, { metadata: { name: namespace } });
        ops.create(type, type.namespaced ? namespace : undefined, o);
      }
    }
  });
});
