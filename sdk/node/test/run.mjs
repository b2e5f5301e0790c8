// Runs the tests against a real server, which it builds unless RESCIND_BIN names one.
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const here = import.meta.dirname
const root = join(here, '..')
const temp = mkdtempSync(join(tmpdir(), 'rescind-node-run-'))
let status = 1
try {
  const env = { ...process.env }
  const run = (command, args, cwd) => execFileSync(command, args, { cwd, env, stdio: ['ignore', 'pipe', 'inherit'] }).toString()
  if (!env.RESCIND_BIN) {
    env.RESCIND_BIN = join(temp, 'rescind')
    run('go', ['-C', join(root, '..', '..'), 'build', '-o', env.RESCIND_BIN, './cmd/rescind'], root)
  }
  // What is tested is what would be published.
  const [{ filename }] = JSON.parse(run('npm', ['pack', '--json', '--ignore-scripts', '--silent', '--pack-destination', temp], root))
  env.RESCIND_TARBALL = join(temp, filename)
  installNest11(run)
  const only = process.argv.slice(2)
  const files = readdirSync(here).filter(f => f.endsWith('.test.mjs') && (only.length === 0 || only.some(o => f.startsWith(o)))).map(f => join(here, f))
  // The time-out is that of a whole file: it ends what hangs, and judges nothing.
  status = spawnSync(process.execPath, ['--test', '--test-concurrency=2', '--test-timeout=600000', ...files], { cwd: root, env, stdio: 'inherit' }).status ?? 1
} finally {
  rmSync(temp, { recursive: true, force: true })
}
process.exit(status)

// NestJS 11 lives in a project of its own, and there the package is unpacked as
// npm would do it: a link would find NestJS 12.
function installNest11(run) {
  const project = join(here, 'nest11')
  const versions = file => existsSync(file) ? Object.entries(JSON.parse(readFileSync(file)).packages).filter(([name]) => name).map(([name, p]) => name + p.version) : []
  const have = versions(join(project, 'node_modules', '.package-lock.json'))
  if (versions(join(project, 'package-lock.json')).some(v => !have.includes(v))) {
    run('npm', ['ci', '--no-audit', '--no-fund', '--ignore-scripts', '--silent'], project)
  }
  const target = join(project, 'node_modules', '@rescind', 'node')
  rmSync(target, { recursive: true, force: true })
  mkdirSync(target, { recursive: true })
  run('tar', ['-xzf', join(temp, readdirSync(temp).find(f => f.endsWith('.tgz'))), '-C', target, '--strip-components=1'], project)
}
