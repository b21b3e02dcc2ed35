using Bellman.Runtime.Generation;
using Bellman.Runtime.Models;
using Bellman.Runtime.Scoring;
using Bellman.Runtime.Search;
using Bellman.Runtime.Search.Strategies;
using Bellman.Runtime.Tokenizers;

using LanguageModel policy = LanguageModel.Load(args[0]);
using ValueModel value = ValueModel.Load(args[1]);
Tokenizer tokenizer = Tokenizer.Load(args[0]);
int[] prompt = tokenizer.EncodeToIds(args[2]);
using (var generator = new Generator(policy))
    foreach (int id in generator.Stream(prompt, SamplingOptions.Greedy with { MaxTokens = 64 })) Console.Write(tokenizer.Decode([id]));
using (var scorer = new SequenceScorer(policy, value: value))
    Console.WriteLine($"\nlog-probs and values: {string.Join(", ", scorer.Score([prompt])[0].LogProbs.Zip(scorer.Score([prompt])[0].Values!))}");
using (var search = new TreeSearch(new SearchModels(policy, value), new SearchOptions { StepEnd = StopRule.Strings(tokenizer, ["\n"]), Sampling = new() { MaxTokens = 64 } }))
    search.Run(new BeamSearch(width: 4), [prompt], result => Console.WriteLine($"best of the beam, V = {result.Best.Value:0.00}: {tokenizer.Decode(result.Best.Solution())}"));
