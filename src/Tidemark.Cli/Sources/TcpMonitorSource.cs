namespace Tidemark.Cli.Sources;

/// <summary>A monitor on a TCP port.</summary>
internal sealed record TcpMonitorSource(string Host, int Port) : BackupSource;
