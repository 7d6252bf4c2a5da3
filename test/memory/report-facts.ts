/** The facts of a process that ended at once, for reports in tests. */
import type { ReportFacts } from '../../src/memory/report.ts';

export const reportFacts: ReportFacts = {
  process: {
    ...{ pid: 2, parentPid: 1, argv: ['node', 'app.js'], nodeVersion: 'v20.0.0' },
    ...{ startedAt: '2026-01-01T00:00:00.000Z', durationMs: 0, maxRssBytes: 0, exitCode: 0 },
  },
  settings: { residentBytes: 2 ** 20, limitBytes: 0, fileBytes: 0, sameCore: false },
  memories: 1,
  stats: null,
  nowMs: 0,
};
