using Bellman.Runtime.Checkpoints;

namespace Bellman.Training.Jobs;

/// <summary>Folders that a job is about to make.</summary>
internal static class NewFolder
{
    /// <summary>Refuses a folder that holds something, and a file of that name.</summary>
    /// <exception cref="CheckpointException">The path is taken.</exception>
    public static void Check(string folder)
    {
        if (File.Exists(folder)) throw new CheckpointException($"{folder}: expected a folder to write to, but there is a file of this name; give another one.");
        if (Directory.Exists(folder) && Directory.EnumerateFileSystemEntries(folder).Any())
            throw new CheckpointException($"{folder}: the folder is not empty; give another one, or empty it first.");
    }
}
