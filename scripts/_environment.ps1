# What demo.ps1 and test.ps1 share: it is dot-sourced, and makes .venv.
$ErrorActionPreference = 'Stop'
$root = Split-Path -Parent $PSScriptRoot
$python = Join-Path $root '.venv\Scripts\python.exe'

$pipLog = Join-Path $root '.venv\pip.log'

function Invoke-Checked([string] $program, [string[]] $arguments) {
    & $program @arguments
    if ($LASTEXITCODE -ne 0) { throw "$program $arguments failed with status $LASTEXITCODE" }
}

# Install packages with pip. Its output goes to a log; if it fails, print the end, and name the log.
function Install-Packages([string] $what, [string[]] $arguments) {
    # With 'Stop', Windows PowerShell would end at pip's first warning.
    $ErrorActionPreference = 'Continue'
    Write-Host "installing $what"
    & $python -m pip install --progress-bar off @arguments *>> $pipLog
    if ($LASTEXITCODE -ne 0) {
        Get-Content $pipLog -Tail 10 | Write-Host
        throw "pip could not install $what; its whole output is in $pipLog"
    }
}

# Make .venv with the project in it: for its users ('use') or its developers ('dev'). 'docs' installs
# only the tools of the documentation, which read the source and do not import it.
# A stamp of what was installed makes the next run quick.
function Initialize-Venv([string] $purpose) {
    if (-not (Test-Path $python)) {
        $test = 'import sys; sys.exit(sys.version_info < (3, 11))'
        $found = $null
        foreach ($candidate in @('python', 'python3')) {
            if (Get-Command $candidate -ErrorAction SilentlyContinue) {
                & $candidate -c $test
                if ($LASTEXITCODE -eq 0) { $found = $candidate; break }
            }
        }
        if (-not $found) { throw 'there is no Python here that is 3.11 or newer: install one' }
        Invoke-Checked $found @('-m', 'venv', '--clear', (Join-Path $root '.venv'))
    }
    $project = Join-Path $root 'pyproject.toml'
    $version = & $python --version
    $wanted = "$((Get-FileHash $project).Hash) $version $root"
    $stamp = Join-Path $root ".venv\stamp-$purpose"
    if ((Test-Path $stamp) -and ((Get-Content -Raw $stamp).Trim() -eq $wanted)) { return }
    Write-Host "preparing $(Join-Path $root '.venv'); the first time takes minutes"
    $env:PIP_DISABLE_PIP_VERSION_CHECK = '1'
    if (Test-Path $pipLog) { Remove-Item $pipLog }
    Install-Packages 'pip 25.1 or newer' @('--upgrade', 'pip>=25.1')
    if ($purpose -eq 'docs') {
        Push-Location $root
        try { Install-Packages 'the tools of the documentation' @('--group', 'docs') } finally { Pop-Location }
        Set-Content $stamp $wanted
        return
    }
    # Together and first: each torchvision goes with one torch, and pip must choose them as a pair.
    Install-Packages 'torch, the largest download' @('torch', 'torchvision')
    $packages = @('-e', '.[all]')
    if ($purpose -eq 'dev') { $packages += @('--group', 'dev') }
    Push-Location $root
    try { Install-Packages 'napari-nst, napari and Qt' $packages } finally { Pop-Location }
    Set-Content (Join-Path $root '.venv\stamp-use') $wanted
    Set-Content $stamp $wanted
}
