/** Exporters as the configuration names them; a sink's code is loaded when there is one of its kind. */
import type { Observable } from 'rxjs';
import { compileFilters } from '../hubble/filter.ts';
import type { Flow } from '../hubble/types.ts';
import type { ExportConfig } from './config.ts';
import { Exporter, type ExporterStats } from './exporter.ts';
import type { Sink } from './sink.ts';

export interface Exporters {
  stats(): ExporterStats[];
  close(): Promise<void>;
}

const CAPACITY = 8_192;
const MEBIBYTE = 1 << 20;
const FACILITY_SECURITY = 4;

export async function startExporters(
  configs: readonly ExportConfig[],
  flows$: Observable<Flow>,
  facts: { nodeName: string; version: string; log(line: string): void },
): Promise<Exporters> {
  const exporters: Exporter[] = [];
  for (const config of configs) {
    const { name = config.type, capacity = CAPACITY, allow, deny } = config;
    const sink = await sinkOf(config, facts);
    exporters.push(new Exporter({ name, sink, capacity, wanted: compileFilters(allow, deny), log: facts.log }, flows$));
  }
  return {
    stats: () => exporters.map((exporter) => exporter.stats()),
    close: async () => void (await Promise.all(exporters.map((exporter) => exporter.close()))),
  };
}

async function sinkOf(
  config: ExportConfig,
  { nodeName, version }: { nodeName: string; version: string },
): Promise<Sink> {
  switch (config.type) {
    case 'file': {
      const { FileSink } = await import('./file-sink.ts');
      const { path, maxSizeMb = 10, maxBackups = 5 } = config;
      return new FileSink({ path, maxBytes: maxSizeMb * MEBIBYTE, maxBackups });
    }
    case 'loki': {
      const { LokiSink } = await import('./loki-sink.ts');
      const { url, tokenFile = '', headers = {} } = config;
      return new LokiSink({ url, tokenFile, headers });
    }
    case 'otlp': {
      const { OtlpSink } = await import('./otlp-sink.ts');
      const { url, tokenFile = '', headers = {} } = config;
      return new OtlpSink({ url, tokenFile, headers }, nodeName, version);
    }
    case 'syslog': {
      const { SyslogSink } = await import('./syslog-sink.ts');
      const { address, transport = 'tcp', format = 'cef', facility = FACILITY_SECURITY } = config;
      const colon = address.lastIndexOf(':');
      const host = address.slice(0, colon).replace(/^\[|\]$/g, '');
      return new SyslogSink({ host, port: Number(address.slice(colon + 1)), transport, format, facility }, version);
    }
  }
}
