/**
 * CEL expressions over a flow, `_flow`, as Hubble takes them: fields and enums by the protocol's names, what is not set has its zero.
 *
 * - Their time is bounded: regular expressions are RE2's, expressions are short, and loops over lists are few.
 * - A field or enum that the protocol does not have is refused when the filter comes, not passed over.
 * - An expression that fails for a flow (an index beyond a list) does not match it.
 */
import { type ASTNode, Environment } from '@marcbachmann/cel-js';
import { serialize } from '@marcbachmann/cel-js/serialize';
import { RE2JS } from 're2js';
import { enumNumber, FLOW, hasField, isMessage, isSet, typeOf, viewOf } from './cel-view.ts';
import type { Flow } from './types.ts';

const CHARACTERS_MAX = 2_000;
/** `all`, `exists`, `map`, …: each may walk a list inside another one's walk. */
const LOOPS = new Set(['all', 'exists', 'exists_one', 'map', 'filter']);
const LOOPS_MAX = 2;
const REGEXES_KEPT = 64;
const VARIABLE = '_flow';

const environment = new Environment({
  homogeneousAggregateLiterals: false,
  limits: { maxAstNodes: 400, maxDepth: 40, maxListElements: 64, maxMapEntries: 64, maxCallArguments: 8 },
})
  .registerVariable(VARIABLE, 'dyn')
  .registerFunction('string.re2(string): bool', (text: string, pattern: string) => regex(pattern).test(text))
  .registerFunction('isSet(dyn, string): bool', (message: unknown, field: string) => isSet(message, field));

const regexes = new Map<string, RE2JS>();

function regex(pattern: string): RE2JS {
  const known = regexes.get(pattern) ?? RE2JS.compile(pattern);
  regexes.delete(pattern);
  regexes.set(pattern, known);
  if (regexes.size > REGEXES_KEPT) regexes.delete(regexes.keys().next().value ?? '');
  return known;
}

/** Throws with what is wrong with it. */
export function compileCel(expression: string): (flow: Flow) => boolean {
  if (expression.length > CHARACTERS_MAX) throw new Error(`expected at most ${CHARACTERS_MAX} characters`);
  const { ast } = parsed(expression);
  const met: Met = { fields: new Set(), loops: 0 };
  rewrite(ast, met);
  if (met.loops > LOOPS_MAX) throw new Error(`expected at most ${LOOPS_MAX} of ${[...LOOPS].join(', ')}`);
  const program = parsed(serialize(ast));
  const { valid, type, error } = program.check();
  if (!valid) throw new Error(firstLine(error));
  if (type !== 'bool' && type !== 'dyn') throw new Error(`is of type ${type}, expected bool`);
  return (flow) => {
    try {
      return program({ [VARIABLE]: viewOf(flow, met.fields) }) === true;
    } catch {
      return false;
    }
  };
}

function parsed(expression: string): ReturnType<typeof environment.parse> {
  try {
    return environment.parse(expression);
  } catch (error) {
    throw new Error(firstLine(error));
  }
}

const firstLine = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error)).split('\n')[0] ?? '';

interface Met {
  /** Of the flow: only these are made ready for an expression. */
  fields: Set<string>;
  loops: number;
}

/** In place: enums become numbers, `has` and `matches` those of ours. */
function rewrite(node: ASTNode, met: Met): void {
  const one = node as { op: string; args: unknown };
  if (one.op === '.') {
    const path = pathOf(node);
    if (path) {
      const value = path[0] === VARIABLE ? checkPath(path, met) : enumNumber(path);
      if (value !== undefined) Object.assign(one, { op: 'value', args: value });
      return;
    }
  }
  if (one.op === 'call' || one.op === 'rcall') {
    const args = one.args as unknown[];
    if (one.op === 'call' && args[0] === 'has') hasToIsSet(one, (args[1] as ASTNode[])[0]);
    if (one.op === 'rcall' && args[0] === 'matches') args[0] = 're2';
    if (one.op === 'rcall' && LOOPS.has(String(args[0]))) met.loops++;
  }
  for (const child of nodesIn(one.args)) rewrite(child, met);
}

function hasToIsSet(call: { args: unknown }, selected: ASTNode | undefined): void {
  const { op, args } = (selected ?? {}) as { op?: string; args?: unknown };
  if (op !== '.') throw new Error('has() expects a field');
  const [of, field] = args as [ASTNode, string];
  const path = pathOf(selected as ASTNode);
  if (path?.[0] === VARIABLE) checkPath(path, undefined);
  const name = Object.assign(Object.create(Object.getPrototypeOf(of)), of, { op: 'value', args: field });
  call.args = ['isSet', [of, name]];
}

function nodesIn(args: unknown): ASTNode[] {
  if (!Array.isArray(args)) return isNode(args) ? [args] : [];
  return args.flatMap((one) => nodesIn(one));
}
const isNode = (value: unknown): value is ASTNode => typeof value === 'object' && value !== null && 'op' in value;

/** `a.b.c` as its names; undefined: it begins with something else than a name. */
function pathOf(node: ASTNode): string[] | undefined {
  const { op, args } = node as { op: string; args: unknown };
  if (op === 'id') return [String(args)];
  if (op !== '.') return undefined;
  const [of, field] = args as [ASTNode, string];
  const before = pathOf(of);
  return before && [...before, field];
}

function checkPath([, ...fields]: string[], met: Met | undefined): undefined {
  if (fields[0] !== undefined) met?.fields.add(fields[0]);
  let type = FLOW;
  for (const field of fields) {
    if (!isMessage(type) || !hasField(type, field)) throw new Error(`${type} has no field ${field}`);
    type = typeOf(type, field);
  }
}
