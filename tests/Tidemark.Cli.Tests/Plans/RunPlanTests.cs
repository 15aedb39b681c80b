using Tidemark.Testing;

namespace Tidemark.Cli.Tests.Plans;

public sealed class RunPlanTests
{
    private const string Nodes =
        """
        [{"ro": false, "node-name": "top", "drv": "qcow2", "backing_file": "/i/b.qcow2",
          "dirty-bitmaps": [{"name": "c1", "recording": true, "persistent": true, "busy": false, "granularity": 65536,
            "count": 0}],
          "image": {"virtual-size": 1048576, "filename": "/i/t.qcow2", "format": "qcow2", "cluster-size": 65536,
            "backing-image": {"virtual-size": 1048576, "filename": "/i/b.qcow2", "format": "qcow2"}}},
         {"ro": true, "node-name": "base", "drv": "qcow2",
          "image": {"virtual-size": 1048576, "filename": "/i/b.qcow2", "format": "qcow2"}},
         {"ro": false, "node-name": "file", "drv": "file",
          "image": {"virtual-size": 393216, "filename": "/i/t.qcow2", "format": "file"}}]
        """;

    private const string Pull =
        "<domainbackup mode='pull'><incremental>c1</incremental><server transport='unix' socket='/run/s'/><disks>"
        + "<disk name='vda' type='file'><scratch file='/i/s'/></disk></disks></domainbackup>";

    [Fact]
    public async Task A_pull_is_printed_command_by_command_with_what_takes_it_back()
    {
        var (exit, output, error) = await RunAsync(
            Pull, "<domaincheckpoint><name>c2</name></domaincheckpoint>", "--mode", "pull", "--disks", "vda=top");
        Assert.True(exit == 0, error);
        Assert.Contains(
            "C: {\"execute\": \"transaction\", \"arguments\": {\"actions\": [{\"type\": \"block-dirty-bitmap-add\", "
            + "\"data\": {\"node\": \"top\", \"name\": \"c2\", \"persistent\": true, \"disabled\": false}}, "
            + "{\"type\": \"block-dirty-bitmap-add\", \"data\": {\"node\": \"tidemark-0000000000000000-s0\", \"name\": "
            + "\"backup-vda\", \"persistent\": false, \"disabled\": true, \"granularity\": 65536}}, {\"type\": "
            + "\"block-dirty-bitmap-merge\", \"data\": {\"node\": \"tidemark-0000000000000000-s0\", \"target\": "
            + "\"backup-vda\", \"bitmaps\": [{\"node\": \"top\", \"name\": \"c1\"}]}}, {\"type\": \"blockdev-backup\", "
            + "\"data\": {\"device\": \"top\", \"job-id\": \"tidemark-0000000000000000-job0\", \"target\": "
            + "\"tidemark-0000000000000000-s0\", \"sync\": \"none\", \"auto-finalize\": true, \"auto-dismiss\": "
            + "false}}]}}\n",
            output,
            StringComparison.Ordinal);
        Assert.Contains(
            "U: unless it succeeded: {\"execute\": \"block-dirty-bitmap-remove\", \"arguments\": {\"node\": \"top\", "
            + "\"name\": \"c2\"}}\n",
            output,
            StringComparison.Ordinal);
        Assert.Contains(
            "C: {\"execute\": \"block-export-add\", \"arguments\": {\"type\": \"nbd\", \"id\": "
            + "\"tidemark-0000000000000000-disk0\", \"node-name\": \"tidemark-0000000000000000-s0\", \"writable\": "
            + "false, \"name\": \"vda\", \"bitmaps\": [\"backup-vda\"]}}\n",
            output,
            StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_server_that_runs_is_neither_started_nor_stopped(bool isRunning)
    {
        string[] options = ["--disks", "vda=top", .. isRunning ? (string[])["--nbd-running"] : []];
        var (exit, output, error) = await RunAsync(Pull, null, options);
        Assert.True(exit == 0, error);
        Assert.Equal(!isRunning, output.Contains("nbd-server-start", StringComparison.Ordinal));
        Assert.Equal(!isRunning, output.Contains("nbd-server-stop", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_bitmap_that_cannot_be_trusted_is_a_conflict_or_a_whole_read(bool fallsBack)
    {
        string[] options = ["--disks", "vda=top", .. fallsBack ? (string[])["--fallback-full"] : []];
        var (exit, output, error) = await RunAsync(
            Pull.Replace(">c1<", ">c0<", StringComparison.Ordinal), null, options);
        Assert.Equal(fallsBack ? 0 : 1, exit);
        Assert.Equal(fallsBack, output.Contains("disk vda: node top, 1048576 bytes, full", StringComparison.Ordinal));
        Assert.Equal(!fallsBack, error.Contains("c0", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Without_names_for_the_disks_each_active_layer_is_one()
    {
        var (exit, output, error) = await RunAsync("<domainbackup/>", null);
        Assert.True(exit == 0, error);
        Assert.Contains("disk top: node top, 1048576 bytes, full\n", output, StringComparison.Ordinal);
        Assert.DoesNotContain("disk base", output, StringComparison.Ordinal);
        Assert.DoesNotContain("disk file", output, StringComparison.Ordinal);
    }

    /// <summary>Without <c>--disks</c> an XML that was written for the machine finds the disk by its file's
    /// name.</summary>
    [Fact]
    public async Task A_disk_that_is_called_as_its_file_is_found_and_that_is_said()
    {
        var (exit, output, error) = await RunAsync(
            Pull.Replace("'vda'", "'t'", StringComparison.Ordinal), null, "--mode", "pull");
        Assert.True(exit == 0, error);
        Assert.Contains("disk t: node top, 1048576 bytes, incremental since c1\n", output, StringComparison.Ordinal);
        Assert.Contains(
            "disk 't' is taken to be node 'top', by its file '/i/t.qcow2'", error, StringComparison.Ordinal);
    }

    /// <summary>The hypervisor describes an image, rather than name its file, where its chain is another than the
    /// header says: the file counts. The order is the XML's.</summary>
    [Fact]
    public async Task Disks_are_found_by_described_files_and_in_the_order_of_the_xml()
    {
        const string Two =
            """
            [{"node-name": "libvirt-1-format", "drv": "qcow2",
              "image": {"virtual-size": 1048576, "filename": "/i/vdb.qcow2"}},
             {"node-name": "libvirt-2-format", "drv": "qcow2", "image": {"virtual-size": 1048576, "filename":
              "json:{\"backing\": {}, \"driver\": \"qcow2\", \"file\": {\"driver\": \"file\", \"filename\": \"/i/vda.s1\"}}"}}]
            """;
        var (exit, output, error) = await RunOnAsync(
            Two, "<domainbackup><disks><disk name='vda'/><disk name='vdb'/></disks></domainbackup>", null);
        Assert.True(exit == 0, error);
        Assert.Contains(
            "disk vda: node libvirt-2-format, 1048576 bytes, full\ndisk vdb: node libvirt-1-format, ",
            output,
            StringComparison.Ordinal);
        Assert.Contains("C: create /i/vda.s1.0\n", output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task One_name_and_one_disk_that_are_left_over_belong_together()
    {
        var (exit, output, error) = await RunAsync(Pull, null);
        Assert.True(exit == 0, error);
        Assert.Contains("disk vda: node top, 1048576 bytes, incremental since c1\n", output, StringComparison.Ordinal);
        Assert.Contains("disk 'vda' is taken to be node 'top'", error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Where_names_could_be_several_disks_the_nodes_are_told()
    {
        var (exit, output, error) = await RunAsync(
            "<domainbackup><disks><disk name='vda'/><disk name='vdb'/></disks></domainbackup>", null);
        Assert.Equal(1, exit);
        Assert.Empty(output);
        Assert.Contains("no disk named 'vda'", error, StringComparison.Ordinal);
        Assert.Contains("--disks NAME=NODE", error, StringComparison.Ordinal);
        Assert.Contains("'top' (/i/t.qcow2)", error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("--secret-file", "other=/k", 1, "secret 'other' is no image's")]
    [InlineData("--secret-file", "no file", 2, "is not SECRET=FILE")]
    [InlineData("--mode", "push", 2, "is a pull's")]
    [InlineData("--disks", "vda=nowhere", 2, "names no disk and node")]
    [InlineData("--disks", "vdb=top", 1, "no disk named 'vda'")]
    [InlineData("--run", "x", 2, "no run's id")]
    public async Task What_does_not_fit_is_refused(string option, string value, int code, string message)
    {
        var (exit, output, error) = await RunAsync(Pull, null, option, value);
        Assert.Equal(code, exit);
        Assert.Empty(output);
        Assert.Contains(message, error, StringComparison.Ordinal);
    }

    private static Task<(int Exit, string Output, string Error)> RunAsync(
        string backup, string? checkpoint, params string[] options) => RunOnAsync(Nodes, backup, checkpoint, options);

    private static async Task<(int Exit, string Output, string Error)> RunOnAsync(
        string nodes, string backup, string? checkpoint, params string[] options)
    {
        using var directory = new TemporaryDirectory();
        var token = TestContext.Current.CancellationToken;
        string Place(string name) => Path.Combine(directory.Path, name);
        await File.WriteAllTextAsync(Place("nodes"), nodes, token);
        await File.WriteAllTextAsync(Place("backup"), backup, token);
        await File.WriteAllTextAsync(Place("checkpoint"), checkpoint ?? "", token);
        string[] more = checkpoint is null ? [] : ["--checkpoint", Place("checkpoint")];
        using var console = new TestConsole();
        var exit = await console.RunAsync(
            ["plan", "run", "--nodes", Place("nodes"), "--backup", Place("backup"), .. more, .. options]);
        return (exit, console.Output, console.Error);
    }
}
