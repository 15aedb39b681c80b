using System.CommandLine;
using Tidemark.Cli.Passwords;
using Tidemark.Cli.Terminal;

namespace Tidemark.Cli.Commands;

/// <summary>The options of every verb that opens a repository.</summary>
internal sealed class RepositoryOptions
{
    private readonly Option<string> _path = new("--repo", "-r")
    {
        Description = "The repository: a directory.",
        HelpName = "R",
        Required = true,
    };

    private readonly Option<string?> _passwordFile = new("--password-file", "-p")
    {
        Description =
            $"A file with the password; otherwise {PasswordSource.Variable}, {PasswordSource.ResticVariable}, "
            + "or the terminal.",
        HelpName = "FILE",
    };

    /// <summary>Adds the options to a verb.</summary>
    public RepositoryOptions(Command command)
    {
        command.Add(_path);
        command.Add(_passwordFile);
    }

    /// <summary>The repository's path.</summary>
    public string Path(ParseResult parsed) =>
        parsed.GetRequiredValue(_path) is { Length: > 0 } path ? path : throw new UsageException("--repo is empty");

    /// <summary>The password: see <see cref="PasswordSource"/>.</summary>
    public string Password(ParseResult parsed, CommandConsole console, bool isNew = false) =>
        PasswordSource.Read(parsed.GetValue(_passwordFile), console, isNew);
}
