/** What is generated and checked in is what its generator writes today. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parseReasons, toHeader, toTypeScript } from '../bpf/generate-drop-reasons.ts';
import { crdFiles } from '../cluster/crds/generate.ts';
import { root } from './sources.ts';

const read = (path: string) => readFileSync(join(root, path), 'utf8');

test('drop reasons: bpf/drop-reasons.tsv, the C header and the TypeScript table (node bpf/generate-drop-reasons.ts)', () => {
  const reasons = parseReasons(read('bpf/drop-reasons.tsv'));
  expect(read('bpf/lib/drop-reasons.h')).toBe(toHeader(reasons));
  expect(read('state/drop-reasons.ts')).toBe(toTypeScript(reasons));
});

test('CRDs: the schemas of cluster/crds/ and deploy/crds/*.yaml (node cluster/crds/generate.ts)', () => {
  const files = crdFiles();
  expect(readdirSync(join(root, 'deploy/crds')).sort()).toEqual([...files.keys()].sort());
  for (const [name, text] of files) expect(read(`deploy/crds/${name}`), name).toBe(text);
});
