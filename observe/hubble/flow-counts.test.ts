/** What is counted of packets: kinds of flows, and ports that packets went to. */
import { Registry } from 'prom-client';
import { expect, it } from 'vitest';
import { EVENT_DROP, EVENT_TRACE } from '../../datapath/events.ts';
import { flowMetrics } from '../metrics/flow-metrics.ts';
import { FlowCounts } from './flow-counts.ts';
import { ICMP, packetHead, readHead, SCTP, TCP, UDP } from './packet-head.ts';
import { type Flow, type FlowEndpoint, SCTP_CHUNKS } from './types.ts';

const [NEW, ESTABLISHED, REPLY, RELATED, UNKNOWN] = [0, 1, 2, 3, 4];
const end: FlowEndpoint = { ID: 0, identity: 2, cluster_name: '', namespace: '', labels: [], pod_name: '' };
const noFlow = () =>
  ({
    verdict: 'FORWARDED',
    event_type: { type: 4, sub_type: 0 },
    source: end,
    destination: end,
    Summary: '',
  }) as unknown as Flow;

function tell(counts: FlowCounts, proto: number, destinationPort: number, ctState = NEW, type = EVENT_TRACE): void {
  const head = { ...packetHead(), version: 4 as const, proto, destinationPort, hasTransport: true };
  counts.add({ type, subtype: 0, ctState, direction: 1, policyMatch: 0 }, head, end, end, noFlow);
}

const portLines = async (counts: FlowCounts): Promise<string[]> => {
  const registry = new Registry();
  flowMetrics(registry, { counts });
  const text = await registry.metrics();
  return text.split('\n').filter((line) => line.startsWith('hubble_port_distribution_total{'));
};

it('packets on their way to a port are counted: no answers, no drops, nothing whose connection is not known', async () => {
  const counts = new FlowCounts();
  for (const state of [NEW, ESTABLISHED, RELATED, REPLY, UNKNOWN]) tell(counts, TCP, 80, state);
  tell(counts, TCP, 80, NEW, EVENT_DROP);
  tell(counts, UDP, 53);
  tell(counts, SCTP, 7000);
  tell(counts, ICMP, 0);
  const expected = [
    'hubble_port_distribution_total{protocol="TCP",port="80"} 3',
    'hubble_port_distribution_total{protocol="UDP",port="53"} 1',
    'hubble_port_distribution_total{protocol="SCTP",port="7000"} 1',
  ];
  expect(await portLines(counts)).toEqual(expected);
  expect(await portLines(counts)).toEqual(expected);
});

it('a scan of all ports makes no more than a thousand of them, and none of its packets is lost', async () => {
  const counts = new FlowCounts();
  for (let port = 1; port < 65_536; port++) tell(counts, TCP, port);
  tell(counts, UDP, 53);
  tell(counts, TCP, 1);
  const ports = [...counts.ports()];
  expect(ports.length).toBeLessThan(1_100);
  expect(ports.reduce((sum, { count }) => sum + count, 0)).toBe(65_537);
  expect(ports.find(({ protocol, port }) => protocol === 'TCP' && port === 1)?.count).toBe(2);
  expect(ports.find(({ protocol, port }) => protocol === 'UDP' && port === 0)?.count).toBe(1);
});

it('chunks that begin or end an association are counted, those of its data are of one kind', async () => {
  const counts = new FlowCounts();
  const made: number[] = [];
  for (const detail of [1, 1, 2, 0, 3, 14]) {
    const head = packetHead();
    const frame = Buffer.alloc(47);
    frame.set([0x08, 0x00, 0x45], 12);
    frame.set([SCTP], 23);
    frame.set([detail], 46);
    readHead(head, frame, 0, frame.length);
    const l4 = {
      SCTP: { source_port: 1, destination_port: 2, ...(SCTP_CHUNKS[detail] && { chunk_type: SCTP_CHUNKS[detail] }) },
    };
    counts.add({ type: EVENT_TRACE, subtype: 0, ctState: NEW, direction: 1, policyMatch: 0 }, head, end, end, () => {
      made.push(detail);
      return { ...noFlow(), l4, IP: { source: '', destination: '', ipVersion: 'IPv4' } };
    });
  }
  expect(made).toEqual([1, 2, 0, 14]);
  const registry = new Registry();
  flowMetrics(registry, { counts });
  const lines = (await registry.metrics())
    .split('\n')
    .filter((line) => line.startsWith('hubble_sctp_chunk_types_total{'));
  expect(lines).toEqual([
    'hubble_sctp_chunk_types_total{chunk_type="INIT",family="IPv4"} 2',
    'hubble_sctp_chunk_types_total{chunk_type="INIT_ACK",family="IPv4"} 1',
    'hubble_sctp_chunk_types_total{chunk_type="SHUTDOWN_COMPLETE",family="IPv4"} 1',
  ]);
});
