using System.Text;
using Tidemark.Cli.Terminal;

namespace Tidemark.Cli.Passwords;

/// <summary>
/// Where the repository's password comes from, first found first taken: the file of <c>--password-file</c>, the
/// variables TIDEMARK_PASSWORD and RESTIC_PASSWORD, the terminal. Never the command line, which every user of the host
/// can read.
/// </summary>
internal static class PasswordSource
{
    /// <summary>Our own variable.</summary>
    public const string Variable = "TIDEMARK_PASSWORD";

    /// <summary>restic's variable: one setting serves both programs.</summary>
    public const string ResticVariable = "RESTIC_PASSWORD";

    /// <summary>A password file may be this long, in bytes; what is longer was meant to be something else.</summary>
    public const int MaximumFileLength = 64 * 1024;

    /// <summary>Finds the password.</summary>
    /// <param name="file">The password file, or null.</param>
    /// <param name="console">The environment and the terminal.</param>
    /// <param name="isNew">Whether it is being chosen: it is then asked twice.</param>
    /// <exception cref="CliException">There is none, or it is empty, or the file could not be read.</exception>
    public static string Read(string? file, CommandConsole console, bool isNew)
    {
        if (file is not null)
        {
            return ReadFile(file);
        }

        return console.Variable(Variable) ?? console.Variable(ResticVariable) ?? Ask(console, isNew);
    }

    // As restic reads it, so that one file opens the repository with both programs: text in UTF-8 (or UTF-16 with its
    // mark), without the white space round it; the line end that an editor adds is no part of the password.
    private static string ReadFile(string file)
    {
        string text;
        try
        {
            using var stream = new FileStream(file, FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
            var buffer = new byte[MaximumFileLength + 1];
            var count = stream.ReadAtLeast(buffer, buffer.Length, throwOnEndOfStream: false);
            if (count > MaximumFileLength)
            {
                throw new CliException($"'{file}' is longer than {MaximumFileLength} bytes: that is no password file");
            }

            using var reader = new StreamReader(new MemoryStream(buffer, 0, count), Encoding.UTF8);
            text = reader.ReadToEnd().Trim();
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new CliException($"could not read the password file '{file}': {exception.Message}", exception);
        }

        return text.Length > 0
            ? text
            : throw new CliException($"the password file '{file}' is empty: write the password on its first line");
    }

    private static string Ask(CommandConsole console, bool isNew)
    {
        var password =
            console.ReadSecret(isNew ? "choose a password for the new repository: " : "repository password: ")
            ?? throw new CliException(
                $"no password: give --password-file FILE, or set {Variable} (or {ResticVariable})");
        if (password.Length == 0)
        {
            throw new CliException("an empty password protects nothing: give one");
        }

        if (isNew && console.ReadSecret("the same again: ") != password)
        {
            throw new CliException("the two passwords differ: nothing was created");
        }

        return password;
    }
}
