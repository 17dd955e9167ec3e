#!/usr/bin/env escript
%% scripts/docs-in-beams calls it: the chunk "Docs" (EEP 48) for each beam of these sources, and the chunk "EDoc", by which it knows.
-mode(compile).

main([Ebin | Sources]) ->
    Directory = filename:join(filename:dirname(Ebin), "docs." ++ os:getpid()),
    Options = [{doclet, edoc_doclet_chunks}, {layout, edoc_layout_chunks}, {dir, Directory}, {preprocess, true}],
    try
        ok = edoc:files(Sources, Options),
        [put_docs(Directory, Ebin, filename:basename(Source, ".erl")) || Source <- Sources]
    catch
        Class:Reason:Stack ->
            io:format(standard_error, "~ts~n", [erl_error:format_exception(Class, Reason, Stack)]),
            halt(1)
    after
        file:del_dir_r(Directory)
    end.

put_docs(Directory, Ebin, Name) ->
    {ok, Docs} = file:read_file(filename:join([Directory, "chunks", Name ++ ".chunk"])),
    File = filename:join(Ebin, Name ++ ".beam"),
    {ok, _Module, Chunks} = beam_lib:all_chunks(File),
    Compressed = term_to_binary(binary_to_term(Docs), [compressed]),
    %% In place of what the compiler may have put there.
    Others = [Chunk || {Id, _} = Chunk <- Chunks, Id =/= "Docs"],
    {ok, Beam} = beam_lib:build_module(Others ++ [{"Docs", Compressed}, {"EDoc", <<>>}]),
    %% Whole or not at all, for who loads it meanwhile.
    New = File ++ "." ++ os:getpid(),
    ok = file:write_file(New, Beam),
    ok = file:rename(New, File).
