using Tidemark.Backup.Definitions;
using Tidemark.Cli.Sources;

namespace Tidemark.Cli.Tests.Sources;

public sealed class BackupSourceTests
{
    [Theory]
    [InlineData("disk.qcow2")]
    [InlineData("/srv/a:1.qcow2")]
    [InlineData("./qmp:x")]
    public void A_path_is_an_image(string text) => Assert.Equal(new ImageSource(text), BackupSource.Parse(text));

    [Theory]
    [InlineData("qmp:/run/vm.sock", "/run/vm.sock")]
    [InlineData("qmp:vm.sock", "vm.sock")]
    [InlineData("qmp:/run/vm:1", "/run/vm:1")]
    public void A_monitor_on_a_socket(string text, string path) =>
        Assert.Equal(new UnixMonitorSource(path), BackupSource.Parse(text));

    [Theory]
    [InlineData("qmp:localhost:4444", "localhost", 4444)]
    [InlineData("qmp:127.0.0.1:1", "127.0.0.1", 1)]
    [InlineData("qmp:[::1]:65535", "::1", 65535)]
    public void A_monitor_on_a_port(string text, string host, int port) =>
        Assert.Equal(new TcpMonitorSource(host, port), BackupSource.Parse(text));

    [Theory]
    [InlineData("")]
    [InlineData("qmp:")]
    [InlineData("qmp:host:0")]
    [InlineData("qmp:host:65536")]
    [InlineData("qmp:host:port")]
    [InlineData("qmp::4444")]
    [InlineData("libvirt:vm1")]
    public void Anything_else_is_refused(string text) => Assert.Throws<UsageException>(() => BackupSource.Parse(text));

    [Theory]
    [InlineData("vda", "vda", null)]
    [InlineData("vda=node1", "vda", "node1")]
    [InlineData("vda=a=b", "vda", "a=b")]
    public void A_disk_has_a_name_and_a_node(string text, string name, string? node) =>
        Assert.Equal(new DiskSelection(name, node), DiskOption.Parse(text));

    [Theory]
    [InlineData("")]
    [InlineData("=node")]
    [InlineData("vda=")]
    [InlineData("../x")]
    [InlineData("..")]
    [InlineData("a\nb")]
    public void A_disks_name_must_be_able_to_be_a_file_name(string text) =>
        Assert.Throws<UsageException>(() => DiskOption.Parse(text));
}
