using System.CommandLine;
using Tidemark.Cli.Terminal;
using Tidemark.Repository.Backends;

namespace Tidemark.Cli.Commands;

/// <summary><c>tidemark init</c>: creates a repository; one that exists is refused.</summary>
internal static class InitCommand
{
    /// <summary>Builds the verb.</summary>
    public static Command Create(CommandConsole console)
    {
        var command = new Command("init", "Create a repository.");
        var repository = new RepositoryOptions(command);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            var backend = new LocalBackend(repository.Path(parsed));
            var password = repository.Password(parsed, console, isNew: true);
            await using var created = await Repository.Repository.InitializeAsync(
                backend, password, cancellationToken: cancellationToken);
            console.WriteMessage($"created repository {created.Id[..8]} at {created.Location}");
            console.WriteMessage("The password is the only way in: without it nothing can be restored. Keep it.");
            return ExitCode.Success;
        });
        return command;
    }
}
