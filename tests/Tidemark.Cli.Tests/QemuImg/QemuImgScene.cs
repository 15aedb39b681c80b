using System.Text.Json;
using Tidemark.Testing;

namespace Tidemark.Cli.Tests.QemuImg;

/// <summary>A directory of images on which <c>tidemark image</c> and qemu-img do the same.</summary>
internal sealed class QemuImgScene : IDisposable
{
    private readonly TemporaryDirectory _directory = new();

    /// <summary>The QEMU whose output ours is to be, letter for letter.</summary>
    public static QemuVersion Peer => QemuVersions.Need("10.0");

    public string File(string name) => _directory.File(name);

    public void Dispose() => _directory.Dispose();

    /// <summary>Runs <c>tidemark image</c>; a name that begins with @ is a file of the scene.</summary>
    public async Task<ToolResult> OursAsync(params string[] arguments)
    {
        using var console = new TestConsole();
        var code = await console.RunAsync(["image", .. arguments.Select(Resolve)]);
        return new ToolResult(code, console.Output, console.Error);
    }

    /// <summary>Runs it; it must succeed. Returns its standard output.</summary>
    public async Task<string> OursOkAsync(params string[] arguments)
    {
        var result = await OursAsync(arguments);
        Assert.True(result.ExitCode == 0, $"image {string.Join(' ', arguments)}: {result.Error}{result.Output}");
        return result.Output;
    }

    /// <summary>Runs qemu-img of a version.</summary>
    public Task<ToolResult> TheirsAsync(QemuVersion version, params string[] arguments) =>
        Tool.RunAsync(version.Program("qemu-img"), arguments.Select(Resolve));

    /// <summary>Runs it; it must succeed.</summary>
    public async Task<string> TheirsOkAsync(QemuVersion version, params string[] arguments)
    {
        var result = await TheirsAsync(version, arguments);
        Assert.True(result.ExitCode == 0, $"qemu-img {string.Join(' ', arguments)}: {result.Error}{result.Output}");
        return result.Output;
    }

    /// <summary>Runs commands of qemu-io on an image.</summary>
    public async Task IoAsync(string image, string format, params string[] commands)
    {
        var result = await Tool.RunAsync(
            Peer.Program("qemu-io"),
            ["-f", format, .. commands.SelectMany(command => new[] { "-c", command }), Resolve(image)]);
        Assert.True(result.ExitCode == 0, $"qemu-io {image}: {result.Error}{result.Output}");
    }

    /// <summary>Lets a qemu-io die while it has the image open for writing: its bitmaps stay in use.</summary>
    public async Task CrashAsync(string image)
    {
        var result = await Tool.RunAsync(
            Peer.Program("qemu-io"), ["-f", "qcow2", "-c", "write 0 512", "-c", "abort", Resolve(image)]);
        Assert.NotEqual(0, result.ExitCode);
    }

    /// <summary>Fails unless two images have the same content by qemu-img's judgement.</summary>
    public async Task AssertSameContentAsync(string first, string second)
    {
        var result = await TheirsAsync(Peer, "compare", first, second);
        Assert.True(result.ExitCode == 0, $"{first} and {second}: {result.Output}{result.Error}");
    }

    /// <summary>Fails unless qemu-img calls the image clean.</summary>
    public async Task AssertCleanAsync(string image)
    {
        var result = await TheirsAsync(Peer, "check", "-f", "qcow2", image);
        Assert.True(result.ExitCode == 0, $"{image}: {result.Output}{result.Error}");
    }

    /// <summary>A chain with everything in it: data, zeroes, discarded and compressed clusters, ends that
    /// differ.</summary>
    public async Task CreateChainAsync(string options = "")
    {
        string[] extra = options.Length == 0 ? [] : ["-o", options];
        await TheirsOkAsync(Peer, ["create", "-q", "-f", "qcow2", .. extra, "@base.qcow2", "3M"]);
        await IoAsync("@base.qcow2", "qcow2", "write -P 1 0 1M", "write -P 2 2M 70k", "write -P 3 2900k 172k");
        await TheirsOkAsync(
            Peer, ["create", "-q", "-f", "qcow2", .. extra, "-b", "base.qcow2", "-F", "qcow2", "@mid.qcow2", "2560k"]);
        await IoAsync(
            "@mid.qcow2", "qcow2", "write -P 4 64k 64k", "write -z 256k 128k", "write -P 0 512k 64k",
            "write -P 5 1100k 100k");
        await TheirsOkAsync(
            Peer, ["create", "-q", "-f", "qcow2", .. extra, "-b", "mid.qcow2", "-F", "qcow2", "@top.qcow2", "4M"]);
        await IoAsync(
            "@top.qcow2", "qcow2", "write -P 6 640k 64k", "write -z 704k 64k", "write -P 7 3M 1k", "discard 768k 64k",
            "write -c -P 8 1536k 128k");
    }

    /// <summary>JSON without members that one of two does not know, or that say where and how large a file
    /// is.</summary>
    public static string Normalize(string json, params string[] without)
    {
        using var document = JsonDocument.Parse(json);
        using MemoryStream stream = new();
        using (Utf8JsonWriter writer = new(stream))
        {
            Write(document.RootElement, writer, without);
        }

        return System.Text.Encoding.UTF8.GetString(stream.ToArray());
    }

    private string Resolve(string argument) =>
        argument.Replace("@", _directory.Path + "/", StringComparison.Ordinal);

    private static void Write(JsonElement element, Utf8JsonWriter writer, string[] without)
    {
        switch (element.ValueKind)
        {
            case JsonValueKind.Object:
                writer.WriteStartObject();
                foreach (var property in element.EnumerateObject().OrderBy(
                    member => member.Name, StringComparer.Ordinal))
                {
                    if (!without.Contains(property.Name))
                    {
                        writer.WritePropertyName(property.Name);
                        Write(property.Value, writer, without);
                    }
                }

                writer.WriteEndObject();
                break;
            case JsonValueKind.Array:
                writer.WriteStartArray();
                foreach (var item in element.EnumerateArray())
                {
                    Write(item, writer, without);
                }

                writer.WriteEndArray();
                break;
            default:
                element.WriteTo(writer);
                break;
        }
    }
}
