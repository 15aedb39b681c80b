using Tidemark.Nbd.Client;
using Tidemark.Nbd.Protocol;
using Tidemark.Nbd.Tls;
using Tidemark.Testing;

namespace Tidemark.Cli.Tests.Nbd;

/// <summary><c>nbd serve --tls…</c>: whom each mode lets in, and what is said where it cannot begin.</summary>
public sealed class NbdServeTlsTests : IDisposable
{
    private readonly TemporaryDirectory _folder = new();
    private readonly TestCertificates _certificates;
    private readonly string _disk;

    public NbdServeTlsTests()
    {
        _certificates = new TestCertificates(_folder);
        _disk = _folder.File("disk.raw");
        File.WriteAllBytes(_disk, new byte[65536]);
    }

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    private string Socket => _folder.File("s");

    public void Dispose() => _folder.Dispose();

    private Task<NbdServing> ServeAsync(params string[] options) =>
        NbdServing.StartAsync([_disk, "-f", "raw", "-k", Socket, .. options]);

    // Whether a client without TLS, and one with it and this folder, can read.
    private async Task<(bool Plain, bool Encrypted)> TryAsync(string? folder = null) => (
        await TryAsync((NbdClientTls?)null), await TryAsync(NbdClientTls.Load(folder ?? _certificates.Folder)));

    private async Task<bool> TryAsync(NbdClientTls? tls)
    {
        try
        {
            await using var client = await NbdClient.ConnectAsync(
                NbdEndPoint.ForUnix(Socket), new NbdClientOptions { Tls = tls }, Cancellation);
            await client.ReadAsync(0, new byte[512], Cancellation);
            return true;
        }
        catch (NbdException)
        {
            return false;
        }
    }

    [Theory]
    [InlineData(null)]
    [InlineData("require")]
    public async Task Required_tls_is_the_default_with_certificates(string? mode)
    {
        await using var serving = await ServeAsync(
            [.. mode is null ? Array.Empty<string>() : ["--tls", mode], "--tls-certificates", _certificates.Folder]);
        Assert.StartsWith("nbds+unix://", serving.Uri, StringComparison.Ordinal);
        Assert.Equal((false, true), await TryAsync());

        // Nobody asks who the client is.
        Assert.Equal((false, true), await TryAsync(_certificates.WithoutClient(_folder)));
    }

    [Fact]
    public async Task Allowed_tls_serves_both()
    {
        await using var serving = await ServeAsync("--tls", "allow", "--tls-certificates", _certificates.Folder);
        Assert.Equal((true, true), await TryAsync());
    }

    [Theory]
    [InlineData]
    [InlineData("--tls", "disable")]
    public async Task Without_tls_only_plain_clients_are_served(params string[] options)
    {
        await using var serving = await ServeAsync(options);
        Assert.StartsWith("nbd+unix://", serving.Uri, StringComparison.Ordinal);
        Assert.Equal((true, false), await TryAsync());
    }

    [Fact]
    public async Task A_verified_client_needs_a_certificate_of_the_authority()
    {
        await using var serving = await ServeAsync(
            "--tls", "require", "--tls-certificates", _certificates.Folder, "--tls-verify-peer");
        Assert.Equal((false, true), await TryAsync());
        Assert.Equal((false, false), await TryAsync(_certificates.WithoutClient(_folder)));
    }

    [Theory]
    [InlineData("--tls", "require")]
    [InlineData("--tls", "allow")]
    [InlineData("--tls", "off")]
    [InlineData("--tls", "REQUIRE")]
    [InlineData("--tls", "disable", "--tls-certificates", ".")]
    [InlineData("--tls-verify-peer")]
    public async Task Options_that_make_no_sense_are_a_usage_error(params string[] options)
    {
        var (code, error) = await FailAsync(options);
        Assert.Equal(ExitCode.Usage, code);
        Assert.Matches("--tls|require", error);
    }

    [Fact]
    public async Task A_folder_that_is_not_there_or_not_whole_is_named()
    {
        var nowhere = _folder.File("nowhere");
        var (code, error) = await FailAsync("--tls-certificates", nowhere);
        Assert.Equal(ExitCode.Failure, code);
        Assert.Contains(nowhere, error, StringComparison.Ordinal);

        var authority = _certificates.WithoutClient(_folder);
        Assert.Contains("server-cert.pem", (await FailAsync("--tls-certificates", authority)).Error);
        File.Copy(Path.Combine(_certificates.Folder, "server-cert.pem"), Path.Combine(authority, "server-cert.pem"));
        Assert.Contains("server-key.pem", (await FailAsync("--tls-certificates", authority)).Error);
        File.WriteAllText(Path.Combine(authority, "server-key.pem"), "no key");
        Assert.Contains("server-cert.pem", (await FailAsync("--tls-certificates", authority)).Error);
        File.Copy(
            Path.Combine(_certificates.Folder, "server-key.pem"), Path.Combine(authority, "server-key.pem"), true);
        File.Delete(Path.Combine(authority, "ca-cert.pem"));
        Assert.Contains(
            "ca-cert.pem", (await FailAsync("--tls-certificates", authority, "--tls-verify-peer")).Error);
        await using var serving = await ServeAsync("--tls-certificates", authority);
        Assert.Equal((false, true), await TryAsync());
    }

    [Fact]
    public async Task A_client_is_told_of_a_folder_that_is_not_there()
    {
        await using var serving = await ServeAsync("--tls-certificates", _certificates.Folder);
        using var console = new TestConsole();
        var nowhere = _folder.File("nowhere");
        Assert.Equal(
            ExitCode.Failure,
            await console.RunAsync(
                ["nbd", "info", $"nbds+unix:///?socket={Socket}&tls-certificates={nowhere}"]));
        Assert.Contains(nowhere, console.Error, StringComparison.Ordinal);
    }

    private async Task<(int Code, string Error)> FailAsync(params string[] options)
    {
        using var console = new TestConsole();
        var code = await console.RunAsync(["nbd", "serve", _disk, "-f", "raw", "-k", Socket, .. options]);
        Assert.NotEqual(ExitCode.Success, code);
        Assert.False(File.Exists(Socket));
        return (code, console.Error);
    }
}
