using Tidemark.Testing;
using Xunit;

namespace Tidemark.Engine.Tests.Interop;

/// <summary>The whole data plane, step by step, driven by a script that real daemons of many versions pass.</summary>
[Trait("Category", "Interop")]
[Trait("Category", "Long")]
public sealed class DataPlaneTests
{
    // Steps that need what the engine refuses by name.
    private static readonly string[] s_notSupported = ["blkdebug", "copy-on-read", "allocation-depth"];

    [Fact]
    public async Task The_storage_daemon_passes_the_steps_of_QEMUs()
    {
        var root = FindRoot();
        var script = Path.Combine(root, "..", "shared", "lab", "qemu-dataplane.py");
        var program = Path.Combine(root, "artifacts", "bin", "Tidemark.Cli", "release", "tidemark");
        Assert.SkipUnless(File.Exists(script), "the lab's script is not beside the repository");
        Assert.SkipUnless(File.Exists(program), "the program is not built");
        Assert.SkipWhen(Tool.Missing("qemu-img") is not null, "qemu-img is not installed");
        Assert.SkipUnless(
            (await Tool.RunAsync("/usr/bin/python3", ["-c", "import nbd"])).ExitCode == 0,
            "python3-libnbd is not installed");
        using var folder = new TemporaryDirectory();
        Directory.CreateDirectory(folder.File("w"));
        var result = await Tool.RunAsync(
            "/usr/bin/python3", [script, "7.2", "qsd", folder.File("w")],
            environment: new Dictionary<string, string>
            {
                ["QLAB_QSD"] = $"{program} storage-daemon",
                ["QEMU_VERSIONS"] = folder.File("none"),
                ["QMP_OUT"] = folder.File("out"),
            });
        var failed = result.Output.Split('\n')
            .Where(line => line.StartsWith("FAIL", StringComparison.Ordinal))
            .Where(line =>
                !s_notSupported.Any(name => line.Contains($"'{name}' is not supported", StringComparison.Ordinal)));
        Assert.Empty(failed);
        Assert.Contains("21 pass", result.Output, StringComparison.Ordinal);
    }

    private static string FindRoot()
    {
        var folder = AppContext.BaseDirectory;
        while (!File.Exists(Path.Combine(folder, "Tidemark.slnx")))
        {
            folder = Path.GetDirectoryName(folder) ?? throw new InvalidOperationException("not inside the repository");
        }

        return folder;
    }
}
