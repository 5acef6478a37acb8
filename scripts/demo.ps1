# Show what it does in napari. Arguments go to the demo.
. (Join-Path $PSScriptRoot '_environment.ps1')
Initialize-Venv 'use'
& (Join-Path $root '.venv\Scripts\napari-nst.exe') demo @args
exit $LASTEXITCODE
