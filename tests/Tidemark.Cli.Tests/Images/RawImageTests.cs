using System.Text.Json;
using Tidemark.Testing;

namespace Tidemark.Cli.Tests.Images;

/// <summary>Backups of raw images, through the built program; no peer is needed.</summary>
[Trait("Category", "Long")]
public sealed class RawImageTests : IDisposable
{
    private const int MiB = 1 << 20;

    private readonly ImageScene _scene = new();

    public void Dispose() => _scene.Dispose();

    [Fact]
    public async Task A_raw_image_is_read_whole_and_only_chunks_that_differ_are_stored()
    {
        await TestSeed.RunAsync(async random =>
        {
            var image = CreateImage(random);
            await _scene.RunOkAsync("init");

            var first = ImageScene.Disk(await _scene.BackupAsync(image));
            Assert.Equal("full", Text(first, "kind"));

            var content = await File.ReadAllBytesAsync(image);
            random.NextBytes(content.AsSpan(5 * MiB, 1000));
            await File.WriteAllBytesAsync(image, content);
            var second = ImageScene.Disk(await _scene.BackupAsync(image));
            Assert.Equal("re-read", Text(second, "kind"));
            Assert.NotEmpty(Text(second, "reason"));
            Assert.InRange(second.GetProperty("bytes_stored").GetInt64(), 1, 2 * MiB);

            await _scene.RunOkAsync("restore", "latest", "--to", _scene.File("r.raw"));
            Assert.Equal(content, await File.ReadAllBytesAsync(_scene.File("r.raw")));
            _scene.AssertNothingLeft("disk.raw", "r.raw");
        });
    }

    [Fact]
    public async Task A_raw_image_that_looks_like_another_format_is_read_as_its_owner_says()
    {
        await TestSeed.RunAsync(async random =>
        {
            // What a guest would write to have a file of the host read: the header of an overlay over it.
            var image = CreateImage(random);
            await Tool.RunOkAsync(
                BuiltProgram.Path,
                "image", "create", "-q", "-u", "-f", "qcow2", "-b", "/etc/hostname", "-F", "raw", _scene.File("bait"),
                "1M");
            var content = await File.ReadAllBytesAsync(image);
            (await File.ReadAllBytesAsync(_scene.File("bait"))).CopyTo(content, 0);
            await File.WriteAllBytesAsync(image, content);
            File.Delete(_scene.File("bait"));
            await _scene.RunOkAsync("init");

            await _scene.BackupAsync(image, "--format", "raw");

            await _scene.RunOkAsync("restore", "latest", "--to", _scene.File("r.raw"));
            Assert.Equal(content, await File.ReadAllBytesAsync(_scene.File("r.raw")));
            Assert.Equal(
                2,
                (await _scene.RunAsync("any", "backup", "qmp:/nowhere", "--name", "vm", "--format", "raw")).ExitCode);
        });
    }

    [Fact]
    public async Task A_restore_never_overwrites_without_being_told()
    {
        await TestSeed.RunAsync(async random =>
        {
            var image = CreateImage(random);
            await _scene.RunOkAsync("init");
            await _scene.BackupAsync(image);
            await File.WriteAllTextAsync(_scene.File("r.raw"), "precious");

            Assert.Contains("--force", await _scene.RunFailsAsync("restore", "latest", "--to", _scene.File("r.raw")));
            Assert.Equal("precious", await File.ReadAllTextAsync(_scene.File("r.raw")));

            await _scene.RunOkAsync("restore", "latest", "--to", _scene.File("r.raw"), "--force");
            Assert.Equal(await File.ReadAllBytesAsync(image), await File.ReadAllBytesAsync(_scene.File("r.raw")));
        });
    }

    [Fact]
    public async Task What_does_not_exist_is_refused_by_name()
    {
        await TestSeed.RunAsync(async random =>
        {
            var image = CreateImage(random);
            Assert.Contains(_scene.Repository, await _scene.RunFailsAsync("snapshots"));
            Assert.Contains(_scene.Repository, await _scene.RunFailsAsync("backup", image, "--name", "vm"));
            await _scene.RunOkAsync("init");
            Assert.Contains(_scene.Repository, await _scene.RunFailsAsync("init"));
            Assert.Contains("none.raw", await _scene.RunFailsAsync("backup", _scene.File("none.raw"), "--name", "vm"));
            await _scene.RunFailsAsync("restore", "latest", "--to", _scene.File("r.raw"));
            await _scene.BackupAsync(image);
            await _scene.RunFailsAsync("restore", "ffffffff", "--to", _scene.File("r.raw"));
            Assert.Contains("vdz", await _scene.RunFailsAsync("restore", "latest:vdz", "--to", _scene.File("r.raw")));
            _scene.AssertNothingLeft("disk.raw");
        });
    }

    [Fact]
    public async Task A_wrong_password_opens_nothing()
    {
        await TestSeed.RunAsync(async random =>
        {
            var image = CreateImage(random);
            await _scene.RunOkAsync("init");
            foreach (var arguments in new string[][] { ["snapshots"], ["backup", image, "--name", "vm"] })
            {
                var result = await _scene.RunAsync("wrong", arguments);
                Assert.Equal((1, ""), (result.ExitCode, result.Output));
                Assert.Contains("password", result.Error);
            }

            Assert.Equal("[]\n", await _scene.RunOkAsync("snapshots", "--json"));
        });
    }

    private static string Text(JsonElement element, string name) => element.GetProperty(name).GetString()!;

    private string CreateImage(Random random)
    {
        var content = new byte[16 * MiB];
        random.NextBytes(content.AsSpan(2 * MiB, 7 * MiB));
        File.WriteAllBytes(_scene.File("disk.raw"), content);
        return _scene.File("disk.raw");
    }
}
