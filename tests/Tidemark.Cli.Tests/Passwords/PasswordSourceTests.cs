using System.Text;
using Tidemark.Cli.Passwords;
using Tidemark.Testing;

namespace Tidemark.Cli.Tests.Passwords;

public sealed class PasswordSourceTests : IDisposable
{
    private readonly TemporaryDirectory _directory = new();

    public void Dispose() => _directory.Dispose();

    [Theory]
    [InlineData("secret")]
    [InlineData("secret\n")]
    [InlineData("secret\r\n")]
    [InlineData("  secret \n\n")]
    [InlineData("\ufeffsecret\n")]
    public void A_file_is_read_as_restic_reads_it(string content)
    {
        File.WriteAllText(_directory.File("p"), content, new UTF8Encoding(false));
        using var console = new TestConsole(new() { [PasswordSource.Variable] = "other" });
        Assert.Equal("secret", PasswordSource.Read(_directory.File("p"), console.Console, isNew: false));
    }

    [Fact]
    public void Our_variable_comes_before_restics()
    {
        using var both = new TestConsole(new()
        {
            [PasswordSource.Variable] = "ours",
            [PasswordSource.ResticVariable] = "restic's",
        });
        using var one = new TestConsole(new()
        {
            [PasswordSource.Variable] = "",
            [PasswordSource.ResticVariable] = "restic's",
        });
        Assert.Equal("ours", PasswordSource.Read(null, both.Console, isNew: false));
        Assert.Equal("restic's", PasswordSource.Read(null, one.Console, isNew: false));
    }

    [Fact]
    public void Without_a_source_and_a_terminal_the_error_names_the_ways()
    {
        using var console = new TestConsole();
        var error = Assert.Throws<CliException>(() => PasswordSource.Read(null, console.Console, isNew: false));
        Assert.Contains("--password-file", error.Message);
        Assert.Contains("TIDEMARK_PASSWORD", error.Message);
    }

    [Fact]
    public void A_new_password_is_asked_twice_and_must_agree()
    {
        string[] agree = ["a", "a"], differ = ["a", "b"];
        Assert.Equal("a", Ask(agree, isNew: true));
        Assert.Contains("differ", Assert.Throws<CliException>(() => Ask(differ, isNew: true)).Message);
        Assert.Equal("a", Ask(differ, isNew: false));
    }

    [Fact]
    public void An_empty_password_is_refused()
    {
        File.WriteAllText(_directory.File("p"), "\n");
        using var console = new TestConsole();
        Assert.Throws<CliException>(() => PasswordSource.Read(_directory.File("p"), console.Console, isNew: false));
        Assert.Throws<CliException>(() => Ask([""], isNew: false));
    }

    [Fact]
    public void A_file_that_is_missing_or_huge_is_refused_by_name()
    {
        File.WriteAllText(_directory.File("big"), new string('x', PasswordSource.MaximumFileLength + 1));
        using var console = new TestConsole();
        foreach (var name in new[] { "big", "none" })
        {
            var path = _directory.File(name);
            var error = Assert.Throws<CliException>(() => PasswordSource.Read(path, console.Console, isNew: false));
            Assert.Contains(path, error.Message);
        }
    }

    private static string Ask(string[] answers, bool isNew)
    {
        var left = new Queue<string>(answers);
        using var console = new TestConsole(readSecret: _ => left.Dequeue());
        return PasswordSource.Read(null, console.Console, isNew);
    }
}
