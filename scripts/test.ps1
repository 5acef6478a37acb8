# Check everything: format, lint, types, tests. Arguments go to pytest. With the environment
# variable QT_API=pyside6 the tests use the other Qt binding.
. (Join-Path $PSScriptRoot '_environment.ps1')
Initialize-Venv 'dev'
Push-Location $root
try {
    $failed = @()
    foreach ($check in @(@('ruff', 'check'), @('ruff', 'format', '--check'), @('mypy'), (@('pytest') + $args))) {
        Write-Host "`n== $($check[0])"
        & $python -m @check
        if ($LASTEXITCODE -ne 0) { $failed += $check[0] }
    }
}
finally { Pop-Location }
if ($failed) {
    Write-Host "failed: $($failed -join ', ')"
    exit 1
}
