// Checks dashboards against Grafana's own types: node schema.mjs FOLDER DASHBOARD.json…
// FOLDER has node_modules with @grafana/schema and typescript.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, join } from 'node:path';

const [folder, ...files] = process.argv.slice(2);
const ts = createRequire(join(folder, 'package.json'))('typescript');

const panels = {
  barchart: 'BarChart',
  bargauge: 'BarGauge',
  'state-timeline': 'StateTimeline',
  stat: 'Stat',
  table: 'Table',
  timeseries: 'TimeSeries',
};
// Panels without settings of their own for a field have no such type.
const without = new Set(['BarGauge', 'Stat']);

const imports = Object.entries(panels).map(([type, name]) => {
  const module = `${type.replace('-', '')}/panelcfg/x/${name}PanelCfg_types.gen.js`;
  return `import type * as ${name} from '@grafana/schema/dist/esm/raw/composable/${module}';`;
});
const union = Object.entries(panels).map(([type, name]) => {
  const custom = without.has(name) ? 'Record<string, never>' : `${name}.FieldConfig`;
  return `  | Typed<'${type}', ${name}.Options, ${custom}>`;
});

// An enum of strings accepts none of its own strings: `Plain` does. The core's types leave open what
// a panel's plugin reads: `Typed` fills it in from the plugin's own.
const types = `
${imports.join('\n')}
import type { AnnotationQuery, Dashboard, DataQuery, FieldConfig, FieldConfigSource, Panel, RowPanel } from '@grafana/schema';

type Plain<T> = T extends string
  ? \`\${T}\`
  : T extends number | boolean | null | undefined
    ? T
    : T extends (infer U)[]
      ? Plain<U>[]
      : T extends object
        ? { [K in keyof T]: Plain<T[K]> }
        : T;

type Query = DataQuery & { expr: string; interval?: string };
type Target = Query & { legendFormat: string; editorMode: 'code'; format: 'table' | 'time_series'; instant: boolean; range: boolean };

type Typed<Type, Options, Custom> = Omit<Panel, 'type' | 'options' | 'fieldConfig' | 'targets'> & {
  type: Type;
  options: Options;
  targets: Target[];
  fieldConfig: Omit<FieldConfigSource, 'defaults'> & {
    defaults: Omit<FieldConfig, 'custom'> & { custom?: Partial<Custom> };
  };
};

type AnyPanel =
  | RowPanel
${union.join('\n')};

type Annotation = AnnotationQuery<Query> & { titleFormat?: string; textFormat?: string; useValueForTime?: boolean };

type Checked = Plain<
  Omit<Dashboard, 'panels' | 'annotations'> & { panels: AnyPanel[]; annotations: { list: Annotation[] } }
>;
`;

const virtual = new Map(
  files.map((file, index) => [
    join(folder, `dashboard-${index}.ts`),
    { file, text: `${types}\nexport const dashboard: Checked = ${readFileSync(file, 'utf8')};\n` },
  ]),
);
const options = {
  strict: true,
  noEmit: true,
  skipLibCheck: true,
  module: ts.ModuleKind.ESNext,
  moduleResolution: ts.ModuleResolutionKind.Bundler,
  target: ts.ScriptTarget.ES2022,
  types: [],
};
const host = ts.createCompilerHost(options);
const { fileExists, getSourceFile } = host;
host.fileExists = (name) => virtual.has(name) || fileExists(name);
host.getSourceFile = (name, ...rest) =>
  virtual.has(name)
    ? ts.createSourceFile(name, virtual.get(name).text, ts.ScriptTarget.ES2022, true)
    : getSourceFile(name, ...rest);

const program = ts.createProgram([...virtual.keys()], options, host);
const found = ts.getPreEmitDiagnostics(program);
// The JSON begins on the line after the types.
const before = types.split('\n').length;
for (const { file, start, messageText } of found) {
  const made = file && virtual.get(file.fileName);
  const name = made ? basename(made.file) : (file?.fileName ?? '');
  const line = file ? file.getLineAndCharacterOfPosition(start).line + 1 - (made ? before : 0) : 0;
  console.error(`${name}:${line}: ${ts.flattenDiagnosticMessageText(messageText, '\n  ')}`);
}
process.exit(found.length ? 1 : 0);
