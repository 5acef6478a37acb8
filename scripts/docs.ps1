# Build the documentation in site\, with warnings as errors; "docs.ps1 serve" shows it in a browser.
. (Join-Path $PSScriptRoot '_environment.ps1')
Initialize-Venv 'docs'
Push-Location $root
try {
    if ($args[0] -eq 'serve') { & $python -m zensical @args }
    else { & $python -m zensical build --clean --strict @args }
}
finally { Pop-Location }
exit $LASTEXITCODE
