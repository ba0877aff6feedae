/** Patches as tables: before, patch, after. */
import { describe, expect, test } from 'vitest';
import { builtinSchema } from './builtin-schemas.ts';
import { ApiError } from './errors.ts';
import { jsonPatch, mergePatch, patchKind } from './patch.ts';
import { Registry } from './registry.ts';
import { strategicMerge } from './strategic-merge.ts';

describe('JSON merge patch', () => {
  // The examples of RFC 7386, appendix A.
  test.each([
    [{ a: 'b' }, { a: 'c' }, { a: 'c' }],
    [{ a: 'b' }, { b: 'c' }, { a: 'b', b: 'c' }],
    [{ a: 'b' }, { a: null }, {}],
    [{ a: ['b'] }, { a: 'c' }, { a: 'c' }],
    [{ a: { b: 'c' } }, { a: { b: 'd', c: null } }, { a: { b: 'd' } }],
    [{ a: [{ b: 'c' }] }, { a: [1] }, { a: [1] }],
    [
      ['a', 'b'],
      ['c', 'd'],
      ['c', 'd'],
    ],
    [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
  ])('%j + %j = %j', (before, patch, after) => {
    expect(mergePatch(before, patch)).toEqual(after);
  });
});

describe('JSON patch', () => {
  test.each([
    ['adds', { a: 1 }, [{ op: 'add', path: '/b', value: 2 }], { a: 1, b: 2 }],
    ['inserts', { a: [1, 3] }, [{ op: 'add', path: '/a/1', value: 2 }], { a: [1, 2, 3] }],
    ['appends', { a: [1] }, [{ op: 'add', path: '/a/-', value: 2 }], { a: [1, 2] }],
    ['removes', { a: { b: 1, c: 2 } }, [{ op: 'remove', path: '/a/b' }], { a: { c: 2 } }],
    ['replaces', { a: [1, 2] }, [{ op: 'replace', path: '/a/0', value: 9 }], { a: [9, 2] }],
    ['moves', { a: 1 }, [{ op: 'move', from: '/a', path: '/b' }], { b: 1 }],
    ['copies', { a: { x: 1 } }, [{ op: 'copy', from: '/a', path: '/b' }], { a: { x: 1 }, b: { x: 1 } }],
    [
      'unescapes',
      { 'a/b': 1, 'c~d': 2 },
      [
        { op: 'replace', path: '/a~1b', value: 3 },
        { op: 'remove', path: '/c~0d' },
      ],
      { 'a/b': 3 },
    ],
    [
      'tests',
      { a: { b: [1] } },
      [
        { op: 'test', path: '/a', value: { b: [1] } },
        { op: 'add', path: '/ok', value: true },
      ],
      { a: { b: [1] }, ok: true },
    ],
    ['replaces all', { a: 1 }, [{ op: 'replace', path: '', value: { b: 2 } }], { b: 2 }],
  ])('%s', (_, before, patch, after) => {
    expect(jsonPatch(structuredClone(before), patch)).toEqual(after);
  });

  test.each([
    [[{ op: 'remove', path: '/nothing' }], 'path /nothing does not exist'],
    [[{ op: 'test', path: '/a', value: 2 }], 'testing value /a failed'],
    [[{ op: 'add', path: '/list/7', value: 2 }], 'index 7 is outside of the list'],
    [[{ op: 'add', path: 'a', value: 2 }], 'must start with "/"'],
    [[{ op: 'jump', path: '/a' }], 'none of add, remove'],
    [{ op: 'add' }, 'a JSON patch is a list of operations'],
    [[{ path: '/a' }], 'needs op and path'],
  ])('%j is refused', (patch, message) => {
    expect(() => jsonPatch({ a: 1, list: [1] }, patch)).toThrow(message);
  });
});

describe('strategic merge patch of a pod', () => {
  const schema = builtinSchema('V1Pod');
  const containers = [
    { name: 'a', image: 'a:1', ports: [{ containerPort: 80, protocol: 'TCP' }], env: [{ name: 'X', value: '1' }] },
    { name: 'b', image: 'b:1' },
  ];
  const merge = (patch: object): unknown =>
    strategicMerge(
      schema,
      { spec: { containers, tolerations: [{ key: 'k' }] }, metadata: { finalizers: ['x'] } },
      patch,
    );

  test('merges containers by name and their ports and variables by key', () => {
    expect(
      merge({
        spec: {
          containers: [{ name: 'a', image: 'a:2', ports: [{ containerPort: 81 }], env: [{ name: 'X', value: '2' }] }],
        },
      }),
    ).toMatchObject({
      spec: {
        containers: [
          {
            name: 'a',
            image: 'a:2',
            ports: [{ containerPort: 80, protocol: 'TCP' }, { containerPort: 81 }],
            env: [{ name: 'X', value: '2' }],
          },
          { name: 'b', image: 'b:1' },
        ],
      },
    });
  });

  test('deletes by directive', () => {
    expect(merge({ spec: { containers: [{ name: 'a', $patch: 'delete' }] } })).toMatchObject({
      spec: { containers: [{ name: 'b' }] },
    });
    expect(merge({ metadata: { '$deleteFromPrimitiveList/finalizers': ['x'] } })).toMatchObject({
      metadata: { finalizers: [] },
    });
  });

  test('replaces by directive', () => {
    expect(merge({ spec: { containers: [{ name: 'c', image: 'c' }, { $patch: 'replace' }] } })).toMatchObject({
      spec: { containers: [{ name: 'c' }] },
    });
    expect(merge({ spec: { $patch: 'replace', nodeName: 'n' } })).toMatchObject({ spec: { nodeName: 'n' } });
  });

  test('replaces lists that have no key, and joins those of scalars', () => {
    expect(merge({ spec: { tolerations: [{ key: 'other' }] } })).toMatchObject({
      spec: { tolerations: [{ key: 'other' }] },
    });
    expect(merge({ metadata: { finalizers: ['y', 'x'] } })).toMatchObject({ metadata: { finalizers: ['x', 'y'] } });
  });

  test('orders and retains as told, and leaves no directive behind', () => {
    const result = merge({
      spec: {
        '$setElementOrder/containers': [{ name: 'b' }, { name: 'a' }],
        containers: [{ name: 'b', image: 'b:2' }],
      },
    });
    expect(result).toMatchObject({ spec: { containers: [{ name: 'b', image: 'b:2' }, { name: 'a' }] } });
    const volumes = { spec: { volumes: [{ name: 'v', emptyDir: {} }] } };
    expect(
      strategicMerge(schema, volumes, {
        spec: { volumes: [{ name: 'v', $retainKeys: ['name', 'hostPath'], hostPath: { path: '/' } }] },
      }),
    ).toEqual({ spec: { volumes: [{ name: 'v', hostPath: { path: '/' } }] } });
    expect(JSON.stringify(result)).not.toContain('$');
  });

  test('refuses items without their key', () => {
    expect(() => merge({ spec: { containers: [{ image: 'x' }] } })).toThrow(
      'does not contain declared merge key: name',
    );
  });
});

test('custom resources take no strategic merge patch', () => {
  const registry = new Registry();
  const pods = registry.named('pods');
  expect(patchKind(pods, 'application/strategic-merge-patch+json; charset=utf-8')).toBe('strategic');
  expect(() => patchKind({ ...pods, custom: true }, 'application/strategic-merge-patch+json')).toThrow(ApiError);
});
