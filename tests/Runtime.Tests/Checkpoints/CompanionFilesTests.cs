using Bellman.Runtime.Checkpoints;
using Bellman.Tests;
using Xunit;

namespace Bellman.Runtime.Tests.Checkpoints;

public sealed class CompanionFilesTests
{
    [Fact]
    public void TokenizerFilesAreCopiedAndWeightsAreNot()
    {
        using TemporaryFolder folder = TestData.NewFolder();
        string source = folder.File("source"), target = folder.File("target");
        Directory.CreateDirectory(source);
        Directory.CreateDirectory(target);
        foreach (string name in (string[])["tokenizer.json", "generation_config.json", "model.safetensors", "config.json", "notes.txt"])
            File.WriteAllText(Path.Combine(source, name), name);
        File.SetAttributes(Path.Combine(source, "tokenizer.json"), FileAttributes.ReadOnly);
        Assert.Equal(["tokenizer.json", "generation_config.json"], CompanionFiles.Copy(source, target));
        Assert.Equal(["generation_config.json", "tokenizer.json"], Directory.GetFiles(target).Select(Path.GetFileName).Order(StringComparer.Ordinal));
        Assert.Equal("tokenizer.json", File.ReadAllText(Path.Combine(target, "tokenizer.json")));
        Assert.False(File.GetAttributes(Path.Combine(target, "tokenizer.json")).HasFlag(FileAttributes.ReadOnly));
        // Again over the copies, and onto themselves.
        Assert.Equal(2, CompanionFiles.Copy(source, target).Count);
        Assert.Empty(CompanionFiles.Copy(target, target));
        Assert.Throws<CheckpointException>(() => CompanionFiles.Copy(source, folder.File("absent")));
        File.SetAttributes(Path.Combine(source, "tokenizer.json"), FileAttributes.Normal);
    }
}
