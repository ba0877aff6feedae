/** CEL over a flow: the protocol's names, zeros and enums; nothing that takes long, nothing that is passed over. */
import { describe, expect, it } from 'vitest';
import { compileCel } from './cel.ts';
import { compileFilters, FilterError } from './filter.ts';
import type { Flow, FlowEndpoint } from './types.ts';

const end = (namespace: string, pod_name: string, identity: number, labels: string[]): FlowEndpoint => ({
  ...{ ID: 0, cluster_name: 'c', namespace, pod_name, identity, labels },
});
const flow: Flow = {
  time: { seconds: 1_700_000_000, nanos: 5 },
  uuid: 'u1',
  emitter: { name: 'Hubble', version: '1' },
  verdict: 'DROPPED',
  IP: { source: '10.0.1.5', destination: '10.0.2.6', ipVersion: 'IPv4' },
  l4: { TCP: { source_port: 1024, destination_port: 8080, flags: { SYN: true } } },
  source: end('shop', 'web-0', 4000, ['k8s:app=web', 'k8s:tier=front']),
  destination: end('db', `${'a'.repeat(40)}!`, 2, ['reserved:world']),
  Type: 'L3_L4',
  node_name: 'c/node-1',
  event_type: { type: 1, sub_type: 133 },
  traffic_direction: 'EGRESS',
  is_reply: { value: false },
  Summary: 'TCP Flags: SYN',
};

describe('an expression', () => {
  it.each<[string, boolean]>([
    ['_flow.verdict == Verdict.DROPPED', true],
    ['_flow.verdict == flow.Verdict.FORWARDED', false],
    ['_flow.verdict == 2', true],
    ['_flow.l4.TCP.destination_port == uint(8080) && _flow.l4.TCP.flags.SYN', true],
    ['_flow.l4.TCP.destination_port in [80u, 8080u]', true],
    ['_flow.l4.UDP.destination_port == 0u && _flow.l7.http.method == ""', true],
    ['has(_flow.l4.TCP) && !has(_flow.l4.UDP) && !has(_flow.l7)', true],
    ['has(_flow.source.namespace) && !has(_flow.source.workloads)', true],
    ['_flow.source.labels.exists(label, label.startsWith("k8s:app="))', true],
    ['_flow.source.namespace.matches("^sh") && _flow.source.identity > 256u', true],
    ['_flow.is_reply == false', true],
    ['_flow.time > timestamp("2023-01-01T00:00:00Z")', true],
    ['_flow.source.labels[7] == "x"', false],
    ['size(_flow.source.labels) == 2 ? true : false', true],
  ])('%s: %s', (expression, is) => {
    expect(compileCel(expression)(flow)).toBe(is);
  });

  it.each<[string, RegExp]>([
    ['_flow.verdict ==', /EOF/],
    ['_flow.nope == 1', /flow.Flow has no field nope/],
    ['_flow.source.nope == 1', /flow.Endpoint has no field nope/],
    ['has(_flow.source.nope)', /no field nope/],
    ['_flow.verdict == Verdict.NEVER', /Verdict has no NEVER/],
    ['nobody == 1', /nobody/],
    ['_flow.uuid.size()', /expected bool/],
    ['"x" + "y"', /expected bool/],
    [
      '_flow.source.labels.all(a, _flow.source.labels.all(b, _flow.source.labels.all(c, a == b && b == c)))',
      /at most 2/,
    ],
    [`${'('.repeat(500)}true${')'.repeat(500)}`, /depth/i],
    [`_flow.uuid == "${'x'.repeat(3000)}"`, /2000 characters/],
  ])('%s is refused', (expression, why) => {
    expect(() => compileCel(expression)).toThrow(why);
  });

  it('with a regular expression that others backtrack on ends at once', () => {
    const before = performance.now();
    const is = compileCel('_flow.destination.pod_name.matches("^(a+)+$")');
    for (let i = 0; i < 100; i++) expect(is(flow)).toBe(false);
    expect(performance.now() - before).toBeLessThan(2_000);
  });
});

it('a filter has alternatives, beside its other fields, and names what is wrong', () => {
  const of = (...cel_expression: string[]) => [{ source_pod: ['shop/'], experimental: { cel_expression } }];
  expect(compileFilters(of('_flow.uuid == "other"', '_flow.uuid == "u1"'))(flow)).toBe(true);
  expect(compileFilters(of('_flow.uuid == "other"'))(flow)).toBe(false);
  expect(compileFilters([], of('_flow.uuid == "u1"'))(flow)).toBe(false);
  expect(() => compileFilters(of('_flow.nope'))).toThrow(FilterError);
  expect(() => compileFilters(of('_flow.nope'))).toThrow(
    /experimental.cel_expression: "_flow.nope": flow.Flow has no field/,
  );
});
