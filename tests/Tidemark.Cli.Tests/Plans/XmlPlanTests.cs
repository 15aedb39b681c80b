using Tidemark.Testing;

namespace Tidemark.Cli.Tests.Plans;

public sealed class XmlPlanTests
{
    [Fact]
    public async Task A_backup_gets_its_disks_modes_and_files()
    {
        var (exit, output, _) = await RunAsync(
            "backup",
            "<domainbackup><incremental>c1</incremental><disks><disk name='vdb' backupmode='full'/></disks>"
                + "</domainbackup>",
            "--disks", "vda=/images/vda.qcow2:qcow2,vdb=/images/vdb:2.raw:raw", "--suffix", "S");
        Assert.Equal(0, exit);
        Assert.Equal(
            """
            <domainbackup mode='push'>
              <incremental>c1</incremental>
              <disks>
                <disk name='vdb' backup='yes' type='file' backupmode='full'>
                  <target file='/images/vdb:2.raw.S'/>
                </disk>
                <disk name='vda' backup='no'/>
              </disks>
            </domainbackup>

            """,
            output);
    }

    [Fact]
    public async Task A_checkpoint_gets_its_name_time_parent_and_disks()
    {
        var (exit, output, _) = await RunAsync(
            "checkpoint", "<domaincheckpoint/>", "--disks", "vda=/a:qcow2,sda=,vdb=/b:qcow2:ro", "--time", "77",
            "--parent", "older");
        Assert.Equal(0, exit);
        Assert.Equal(
            """
            <domaincheckpoint>
              <name>77</name>
              <parent>
                <name>older</name>
              </parent>
              <creationTime>77</creationTime>
              <disks>
                <disk name='vda' checkpoint='bitmap' bitmap='77'/>
                <disk name='sda' checkpoint='no'/>
                <disk name='vdb' checkpoint='no'/>
              </disks>
            </domaincheckpoint>

            """,
            output);
    }

    [Theory]
    [InlineData("<domainbackup mode='foo'/>", "failed to validate against schema")]
    [InlineData("<domainbackup><disks><disk name='vdz'/></disks></domainbackup>", "no disk named 'vdz'")]
    [InlineData("<domainbackup", "failed to validate against schema")]
    public async Task What_cannot_be_used_is_an_error_with_its_class(string xml, string message)
    {
        var (exit, output, error) = await RunAsync("backup", xml, "--disks", "vda=/a");
        Assert.Equal(1, exit);
        Assert.Empty(output);
        Assert.Contains(message, error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("vda")]
    [InlineData("vda=/a,vda=/b")]
    [InlineData("v/da=/a")]
    public async Task A_list_of_disks_that_makes_no_sense_is_refused(string disks)
    {
        var (exit, _, _) = await RunAsync("backup", "<domainbackup/>", "--disks", disks);
        Assert.Equal(2, exit);
    }

    private static async Task<(int Exit, string Output, string Error)> RunAsync(
        string what, string xml, params string[] options)
    {
        using var directory = new TemporaryDirectory();
        var path = Path.Combine(directory.Path, "in.xml");
        await File.WriteAllTextAsync(path, xml, TestContext.Current.CancellationToken);
        using var console = new TestConsole();
        return (await console.RunAsync(["plan", "xml", what, .. options, path]), console.Output, console.Error);
    }
}
