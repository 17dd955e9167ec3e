#!/usr/bin/env escript
%% scripts/docs-in-beams calls it: the chunk "Docs" (EEP 48) for each beam of these sources, and the chunk "EDoc", by which it knows.
-mode(compile).

main([Ebin | Sources]) ->
    Directory = filename:join(filename:dirname(Ebin), "docs." ++ os:getpid()),
    Options = [{doclet, edoc_doclet_chunks}, {layout, edoc_layout_chunks}, {dir, Directory}, {preprocess, true}],
    try
        ok = edoc:files([whole(Directory, Source) || Source <- Sources], Options),
        [put_docs(Directory, Ebin, filename:basename(Source, ".erl")) || Source <- Sources]
    catch
        Class:Reason:Stack ->
            io:format(standard_error, "~ts~n", [erl_error:format_exception(Class, Reason, Stack)]),
            halt(1)
    after
        file:del_dir_r(Directory)
    end.

%% EDoc takes no comments from files that are included. A source that includes some of its own folder is put together first.
whole(Directory, Source) ->
    case included(Source) of
        [_] ->
            Source;
        Whole ->
            Copy = filename:join(Directory, filename:basename(Source)),
            ok = filelib:ensure_dir(Copy),
            ok = file:write_file(Copy, Whole),
            Copy
    end.

%% The file, in as many parts as there are between what it includes.
included(File) ->
    {ok, Text} = file:read_file(File),
    [First | Rest] = re:split(Text, "^-include\\(\"([^\"]+)\"\\)\\.\\n", [multiline]),
    [First | behind(filename:dirname(File), Rest)].

behind(Folder, [Name, Text | Rest]) -> included(filename:join(Folder, Name)) ++ [Text | behind(Folder, Rest)];
behind(_, []) -> [].

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
