namespace Tidemark.Cli.Sources;

/// <summary>A monitor on a unix socket.</summary>
internal sealed record UnixMonitorSource(string Path) : BackupSource;
