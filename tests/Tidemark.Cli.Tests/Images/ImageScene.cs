using System.Text.Json;
using Tidemark.Testing;

namespace Tidemark.Cli.Tests.Images;

/// <summary>A directory with a repository and images, and the built program run on them as a user runs it.</summary>
internal sealed class ImageScene : IDisposable
{
    private const string Password = "a password of the tests";

    private readonly TemporaryDirectory _directory = new(inMemory: true);

    public ImageScene() => Directory.CreateDirectory(File("tmp"));

    public string Repository => File("repo");

    public string File(string name) => _directory.File(name);

    public void Dispose() => _directory.Dispose();

    /// <summary>Runs the program; <c>--repo</c> is added.</summary>
    public Task<ToolResult> RunAsync(string password, params string[] arguments) =>
        Tool.RunAsync(
            BuiltProgram.Path,
            [.. arguments, "--repo", Repository],
            environment: new Dictionary<string, string>
            {
                ["TIDEMARK_PASSWORD"] = password,
                ["XDG_STATE_HOME"] = File("state"),
                ["XDG_RUNTIME_DIR"] = File("tmp"),
                ["TMPDIR"] = File("tmp"),
            });

    /// <summary>Runs the program; it must succeed.</summary>
    public async Task<string> RunOkAsync(params string[] arguments)
    {
        var result = await RunAsync(Password, arguments);
        Assert.True(result.ExitCode == 0, $"tidemark {string.Join(' ', arguments)}: {result.ExitCode}\n{result.Error}");
        return result.Output;
    }

    /// <summary>Runs the program; it must fail with one clear line and nothing on standard output.</summary>
    public async Task<string> RunFailsAsync(params string[] arguments)
    {
        var result = await RunAsync(Password, arguments);
        Assert.Equal(1, result.ExitCode);
        Assert.Empty(result.Output);
        Assert.DoesNotContain("   at ", result.Error);
        Assert.DoesNotContain("internal error", result.Error);
        return Assert.Single(
            result.Error.Split('\n'), line => line.StartsWith("tidemark: error: ", StringComparison.Ordinal));
    }

    /// <summary>Makes a backup of an image, which must succeed; returns its report.</summary>
    public async Task<JsonElement> BackupAsync(string image, params string[] options)
    {
        var output = await RunOkAsync(["backup", image, "--name", "vm", "--json", .. options]);
        Assert.Equal(1, output.Count(character => character == '\n'));
        return JsonDocument.Parse(output).RootElement.Clone();
    }

    /// <summary>Skips the test where a program is missing.</summary>
    public static void SkipWithout(params string[] tools) =>
        Assert.SkipWhen(Tool.Missing(tools) is not null, Tool.Missing(tools) ?? "");

    /// <summary>A text member of a report.</summary>
    public static string Text(JsonElement element, string name) => element.GetProperty(name).GetString()!;

    /// <summary>The one disk of a report.</summary>
    public static JsonElement Disk(JsonElement report) => Assert.Single(report.GetProperty("disks").EnumerateArray());

    /// <summary>A qcow2 image with some data.</summary>
    public async Task<string> CreateImageAsync(string name = "disk.qcow2", string size = "64M")
    {
        await Tool.RunOkAsync("qemu-img", "create", "-q", "-f", "qcow2", File(name), size);
        await WriteAsync(File(name), "write -P 0x11 0 8M", "write -P 0x22 20M 3M");
        return File(name);
    }

    /// <summary>Writes into a qcow2 image as a guest would, through QEMU's own code.</summary>
    public static async Task WriteAsync(string image, params string[] commands) =>
        await Tool.RunOkAsync(
            "qemu-io", ["-f", "qcow2", .. commands.SelectMany(command => new[] { "-c", command }), image]);

    /// <summary>Compares two images with QEMU's own program.</summary>
    public static async Task AssertSameAsync(string one, string oneFormat, string other, string otherFormat) =>
        await Tool.RunOkAsync("qemu-img", "compare", "-f", oneFormat, "-F", otherFormat, one, other);

    /// <summary>Nothing of a run may be left: no scratch file, no socket, no file beside the images.</summary>
    public void AssertNothingLeft(params string[] expected)
    {
        var found = Directory.EnumerateFileSystemEntries(File("")).Select(Path.GetFileName)
            .Except(["repo", "state", "tmp", .. expected])
            .Concat(Directory.EnumerateFileSystemEntries(File("tmp"), "*", SearchOption.AllDirectories));
        Assert.Empty(found);
    }
}
