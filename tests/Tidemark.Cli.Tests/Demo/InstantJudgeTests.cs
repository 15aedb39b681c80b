using Tidemark.Cli.Demo;
using Tidemark.Testing;

namespace Tidemark.Cli.Tests.Demo;

public sealed class InstantJudgeTests : IDisposable
{
    private const int DiskLength = 16 << 20;

    private readonly TemporaryDirectory _directory = new();
    private readonly MemoryNode _disk = new("disk", new byte[DiskLength]);
    private int _imageCount;

    public void Dispose() => _directory.Dispose();

    [Fact]
    public async Task The_log_played_again_gives_the_guests_disk()
    {
        var guest = await WorkedGuestAsync();
        var count = guest.Log.AcknowledgedCount;
        Assert.True(count > 40, $"only {count} writes");
        Assert.Equal(count, Judge(guest.Log, _disk.Content, count, count));
    }

    [Fact]
    public async Task An_instant_inside_the_window_is_found_and_one_outside_is_not()
    {
        var guest = await WorkedGuestAsync();
        var end = guest.Log.AcknowledgedCount;

        // The last write that changed something: before it, the disk was another one.
        Assert.Equal(end, Judge(guest.Log, _disk.Content, end - 20, end));
        Assert.Null(Judge(guest.Log, _disk.Content, end - 20, end - 1));
    }

    [Fact]
    public async Task A_disk_that_misses_a_write_of_the_middle_is_no_instant()
    {
        var guest = await WorkedGuestAsync();
        var log = guest.Log;
        var end = log.AcknowledgedCount;
        var missing = log.Between(0, end).Last(write => write.Kind == ContentKind.Random && write.Number < end - 30);
        var path = Image();
        using (var image = DiskImage.Create(path, DiskLength))
        {
            image.Apply(log.Between(0, missing.Number - 1), TestContext.Current.CancellationToken);
            image.Apply(log.Between(missing.Number, end), TestContext.Current.CancellationToken);
        }

        var mutilated = File.ReadAllBytes(path);
        Assert.NotEqual(_disk.Content, mutilated);
        Assert.Null(Judge(log, mutilated, end - 20, end));
    }

    [Fact]
    public async Task One_flipped_bit_anywhere_is_no_instant() => await TestSeed.RunAsync(async random =>
    {
        var guest = await WorkedGuestAsync();
        var end = guest.Log.AcknowledgedCount;
        _disk.Content[random.Next(DiskLength)] ^= (byte)(1 << random.Next(8));
        Assert.Null(Judge(guest.Log, _disk.Content, end - 20, end));
    });

    [Fact]
    public async Task A_disk_of_another_length_is_no_instant()
    {
        var guest = await WorkedGuestAsync();
        Assert.Null(Judge(guest.Log, _disk.Content[..^512], 0, guest.Log.AcknowledgedCount));
    }

    [Fact]
    public async Task The_same_seed_gives_the_same_writes()
    {
        var one = await WorkedGuestAsync();
        var again = new DemoGuest(new MemoryNode("other", new byte[DiskLength]), seed: 7);
        await again.InstallAsync(_ => { }, TestContext.Current.CancellationToken);
        await again.WorkAsync(DiskLength / 8, TestContext.Current.CancellationToken);
        Assert.Equal(
            one.Log.Between(0, one.Log.AcknowledgedCount), again.Log.Between(0, again.Log.AcknowledgedCount));
    }

    private async Task<DemoGuest> WorkedGuestAsync()
    {
        var guest = new DemoGuest(_disk, seed: 7);
        var written = await guest.InstallAsync(_ => { }, TestContext.Current.CancellationToken);
        Assert.Equal(DiskLength / 4, written);
        await guest.WorkAsync(DiskLength / 8, TestContext.Current.CancellationToken);
        return guest;
    }

    private int? Judge(GuestLog log, byte[] restoredBytes, int first, int last)
    {
        var restoredPath = Image();
        File.WriteAllBytes(restoredPath, restoredBytes);
        using var expected = DiskImage.Create(Image(), DiskLength);
        expected.Apply(log.Between(0, first), TestContext.Current.CancellationToken);
        using var restored = DiskImage.Open(restoredPath);
        return InstantJudge.FindInstant(log, expected, restored, first, last, TestContext.Current.CancellationToken);
    }

    private string Image() => _directory.File($"{_imageCount++}.raw");
}
